SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.audit_retention (
    the_one boolean DEFAULT true NOT NULL,
    days integer DEFAULT 730 NOT NULL,
    CONSTRAINT audit_retention_days_check CHECK ((days >= 30)),
    CONSTRAINT audit_retention_the_one_check CHECK (the_one)
);

CREATE FUNCTION public.audit_kept_until() RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN (SELECT (now() + make_interval(days => audit_retention.days)) FROM public.audit_retention);

CREATE FUNCTION public.in_scope(row_province text, row_municipality text, office_province text, office_municipality text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (COALESCE(((office_province IS NULL) OR (row_province = office_province)), false) AND COALESCE(((office_municipality IS NULL) OR (lower(row_municipality) = lower(office_municipality))), false));

CREATE FUNCTION public.keep_audit_entries() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.kept_until < now() THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION 'audit_entries is append-only: % is refused until the retention of an '
                        'entry has ended', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END $$;

CREATE FUNCTION public.keep_before_values() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
    BEGIN
        IF current_setting('rollbook.undoing', true) = 'on' THEN
            RETURN NULL;
        END IF;
        INSERT INTO member_changes AS c (upload_id, id_number, before)
        SELECT changed.changed_by_upload, former.id_number,
               jsonb_strip_nulls(to_jsonb(former)) - ARRAY['roll_status', 'roll_ward',
                                                           'roll_voting_district', 'roll_asked_at']
        FROM former JOIN changed USING (id_number)
        WHERE former.roll_asked_at IS NOT DISTINCT FROM changed.roll_asked_at
        ON CONFLICT (upload_id, id_number) DO UPDATE SET edited_at = now();
        RETURN NULL;
    END $$;

CREATE FUNCTION public.takes_from_nobody(member_province text, member_municipality text, office_province text, office_municipality text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN public.in_scope(COALESCE(member_province, office_province), COALESCE(member_municipality, office_municipality), office_province, office_municipality);

CREATE FUNCTION public.verification_result(status text, roll_ward text, file_ward text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (status IS NULL) THEN NULL::text WHEN (status <> 'registered'::text) THEN status WHEN ((COALESCE(file_ward, ''::text) = ''::text) OR (file_ward = roll_ward) OR ((file_ward ~ '^[0-9]{1,3}$'::text) AND (lpad(file_ward, 3, '0'::text) = "right"(roll_ward, 3)))) THEN 'registered'::text ELSE 'other_ward'::text END;

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.audit_entries (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kept_until timestamp with time zone DEFAULT public.audit_kept_until() NOT NULL,
    act text NOT NULL,
    outcome text NOT NULL,
    code text,
    user_id uuid,
    email text,
    role text,
    province text,
    municipality text,
    address text,
    agent text,
    job_id uuid,
    about text,
    CONSTRAINT audit_entries_outcome_check CHECK ((outcome = ANY (ARRAY['done'::text, 'refused'::text, 'failed'::text]))),
    CONSTRAINT done_or_why CHECK (((outcome = 'done'::text) = (code IS NULL)))
);

ALTER TABLE public.audit_entries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_entries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.column_mappings (
    province text,
    municipality text,
    fingerprint text NOT NULL,
    columns json NOT NULL,
    upload_id uuid NOT NULL
);

CREATE TABLE public.ended_sessions (
    id uuid NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE TABLE public.folder_state (
    the_one boolean DEFAULT true NOT NULL,
    is_running boolean DEFAULT true NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_by text,
    CONSTRAINT folder_state_the_one_check CHECK (the_one)
);

CREATE TABLE public.member_changes (
    upload_id uuid NOT NULL,
    id_number text NOT NULL COLLATE pg_catalog."C",
    before jsonb NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    edited_at timestamp with time zone
);

CREATE TABLE public.members (
    id_number text NOT NULL COLLATE pg_catalog."C",
    firstname text NOT NULL,
    surname text NOT NULL,
    date_of_birth date NOT NULL,
    gender text,
    citizenship text,
    race text,
    language text,
    cell_number text,
    landline_number text,
    email text,
    residential_address text,
    occupation text,
    qualification text,
    province text,
    region text,
    municipality text,
    ward text,
    voting_station text,
    voting_district text,
    date_joined date,
    last_payment date,
    expiry_date date,
    subscription text,
    membership_amount numeric(12,2),
    status text,
    created_by_upload uuid NOT NULL,
    changed_by_upload uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    roll_status text,
    roll_ward text,
    roll_voting_district text,
    roll_asked_at timestamp with time zone,
    CONSTRAINT members_id_number_check CHECK ((id_number ~ '^[0-9]{13}$'::text)),
    CONSTRAINT members_roll_status_check CHECK ((roll_status = ANY (ARRAY['registered'::text, 'without_district'::text, 'not_registered'::text, 'deceased'::text, 'international'::text])))
);

CREATE TABLE public.notifications (
    id text DEFAULT ('msg_'::text || replace((gen_random_uuid())::text, '-'::text, ''::text)) NOT NULL,
    upload_id uuid NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    channel text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    error_code text,
    error text,
    delivered_at timestamp with time zone,
    given_up_at timestamp with time zone,
    CONSTRAINT notifications_channel_check CHECK ((channel = ANY (ARRAY['email'::text, 'webhook'::text]))),
    CONSTRAINT notifications_kind_check CHECK ((kind = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text, 'verified'::text])))
);

CREATE TABLE public.purges (
    id bigint NOT NULL,
    ran_at timestamp with time zone NOT NULL,
    removed json NOT NULL
);

ALTER TABLE public.purges ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.purges_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sign_in_failures (
    key text NOT NULL,
    failures integer NOT NULL,
    last_at timestamp with time zone NOT NULL,
    locked_until timestamp with time zone NOT NULL,
    is_noted boolean DEFAULT false NOT NULL
);

CREATE TABLE public.undo_kept (
    upload_id uuid NOT NULL,
    id_number text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL,
    later_upload uuid,
    CONSTRAINT undo_kept_reason_check CHECK ((reason = ANY (ARRAY['later_upload'::text, 'edited'::text])))
);

CREATE TABLE public.upload_rows (
    upload_id uuid NOT NULL,
    row_number integer NOT NULL,
    outcome text NOT NULL,
    duplicate_of integer,
    problems jsonb,
    CONSTRAINT upload_rows_outcome_check CHECK ((outcome = ANY (ARRAY['inserted'::text, 'updated'::text, 'unchanged'::text, 'invalid'::text, 'duplicate'::text, 'out_of_scope'::text])))
);

CREATE TABLE public.uploads (
    id uuid NOT NULL,
    ordinal bigint NOT NULL,
    owner_id uuid NOT NULL,
    province text,
    municipality text,
    file_name text NOT NULL,
    file_kind text NOT NULL,
    file_bytes bigint NOT NULL,
    file_sha256 text NOT NULL,
    idempotency_key text,
    priority integer NOT NULL,
    dry_run boolean DEFAULT false NOT NULL,
    existing text DEFAULT 'update'::text NOT NULL,
    all_or_nothing boolean DEFAULT false NOT NULL,
    sheet text,
    columns json,
    status text DEFAULT 'pending'::text NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    attempts_before integer DEFAULT 0 NOT NULL,
    worker text,
    heartbeat_at timestamp with time zone,
    waiting_since timestamp with time zone DEFAULT now() NOT NULL,
    stage text,
    progress smallint DEFAULT 0 NOT NULL,
    rows_done integer DEFAULT 0 NOT NULL,
    rows_total integer,
    inserted integer DEFAULT 0 NOT NULL,
    updated integer DEFAULT 0 NOT NULL,
    unchanged integer DEFAULT 0 NOT NULL,
    invalid integer DEFAULT 0 NOT NULL,
    duplicate integer DEFAULT 0 NOT NULL,
    out_of_scope integer DEFAULT 0 NOT NULL,
    stage_seconds json DEFAULT '{}'::json NOT NULL,
    error_code text,
    error text,
    source_key text,
    report_key text,
    refused_key text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    verify text DEFAULT 'after_merge'::text NOT NULL,
    verification text DEFAULT 'off'::text NOT NULL,
    verified_at timestamp with time zone,
    roll_registered integer DEFAULT 0 NOT NULL,
    roll_other_ward integer DEFAULT 0 NOT NULL,
    roll_without_district integer DEFAULT 0 NOT NULL,
    roll_not_registered integer DEFAULT 0 NOT NULL,
    roll_deceased integer DEFAULT 0 NOT NULL,
    roll_international integer DEFAULT 0 NOT NULL,
    roll_pending integer DEFAULT 0 NOT NULL,
    roll_error integer DEFAULT 0 NOT NULL,
    report_tables_key text,
    undone_at timestamp with time zone,
    undone_by text,
    undo_counts jsonb,
    purged_at timestamp with time zone,
    changes_forgotten_at timestamp with time zone,
    request_id text,
    traceparent text,
    CONSTRAINT every_row_has_one_outcome CHECK (((status <> 'completed'::text) OR (rows_total = (((((inserted + updated) + unchanged) + invalid) + duplicate) + out_of_scope)))),
    CONSTRAINT failed_says_why CHECK (((status <> 'failed'::text) OR (error IS NOT NULL))),
    CONSTRAINT final_has_an_end CHECK (((status = ANY (ARRAY['completed'::text, 'failed'::text, 'cancelled'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT only_what_was_merged_is_undone CHECK (((undone_at IS NULL) OR ((status = 'completed'::text) AND (NOT dry_run)))),
    CONSTRAINT uploads_existing_check CHECK ((existing = ANY (ARRAY['update'::text, 'fill'::text, 'skip'::text]))),
    CONSTRAINT uploads_file_bytes_check CHECK ((file_bytes > 0)),
    CONSTRAINT uploads_file_kind_check CHECK ((file_kind = ANY (ARRAY['xlsx'::text, 'xls'::text, 'csv'::text]))),
    CONSTRAINT uploads_priority_check CHECK ((priority > 0)),
    CONSTRAINT uploads_progress_check CHECK (((progress >= 0) AND (progress <= 100))),
    CONSTRAINT uploads_request_id_check CHECK ((length(request_id) <= 64)),
    CONSTRAINT uploads_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT uploads_traceparent_check CHECK ((length(traceparent) <= 64)),
    CONSTRAINT uploads_verification_check CHECK ((verification = ANY (ARRAY['off'::text, 'pending'::text, 'verified'::text]))),
    CONSTRAINT uploads_verify_check CHECK ((verify = ANY (ARRAY['after_merge'::text, 'before_merge'::text])))
);

ALTER TABLE public.uploads ALTER COLUMN ordinal ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.uploads_ordinal_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.used_once (
    id uuid NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE TABLE public.users (
    id uuid NOT NULL,
    email text NOT NULL,
    name text DEFAULT ''::text NOT NULL,
    role text NOT NULL,
    province text,
    municipality text,
    password_hash text NOT NULL,
    tokens_from timestamp with time zone DEFAULT '1970-01-01 00:00:00+00'::timestamp with time zone NOT NULL,
    disabled_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    is_system boolean DEFAULT false NOT NULL,
    oidc_issuer text,
    oidc_subject text,
    CONSTRAINT issuer_and_subject CHECK (((oidc_issuer IS NULL) = (oidc_subject IS NULL))),
    CONSTRAINT role_has_its_scope CHECK (
CASE role
    WHEN 'province_admin'::text THEN ((province IS NOT NULL) AND (municipality IS NULL))
    WHEN 'municipality_admin'::text THEN ((province IS NOT NULL) AND (municipality IS NOT NULL))
    ELSE ((province IS NULL) AND (municipality IS NULL))
END),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['super_admin'::text, 'national_admin'::text, 'province_admin'::text, 'municipality_admin'::text])))
);

CREATE TABLE public.verifications (
    upload_id uuid NOT NULL,
    row_number integer NOT NULL,
    id_number text NOT NULL COLLATE pg_catalog."C",
    file_ward text,
    result text NOT NULL,
    CONSTRAINT verifications_result_check CHECK ((result = ANY (ARRAY['registered'::text, 'other_ward'::text, 'without_district'::text, 'not_registered'::text, 'deceased'::text, 'international'::text, 'pending'::text, 'error'::text])))
);

CREATE TABLE public.voter_roll_answers (
    id_number text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL,
    ward text,
    voting_district text NOT NULL,
    voting_station text,
    municipality text,
    province text,
    asked_at timestamp with time zone NOT NULL,
    CONSTRAINT voter_roll_answers_id_number_check CHECK ((id_number ~ '^[0-9]{13}$'::text)),
    CONSTRAINT voter_roll_answers_status_check CHECK ((status = ANY (ARRAY['registered'::text, 'without_district'::text, 'not_registered'::text, 'deceased'::text, 'international'::text])))
);

CREATE TABLE public.voter_roll_questions (
    id_number text NOT NULL COLLATE pg_catalog."C",
    upload_ordinal bigint NOT NULL,
    row_number integer NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    error text
);

CREATE TABLE public.voter_roll_requests (
    id bigint NOT NULL,
    sent_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE public.voter_roll_requests ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.voter_roll_requests_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.voter_roll_state (
    the_one boolean DEFAULT true NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    probes integer DEFAULT 0 NOT NULL,
    down_since timestamp with time zone,
    probe_at timestamp with time zone,
    error_code text,
    error text,
    last_answer_at timestamp with time zone,
    CONSTRAINT voter_roll_state_the_one_check CHECK (the_one)
);

CREATE TABLE public.watchers (
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    folder text NOT NULL,
    has_events boolean NOT NULL,
    waiting integer DEFAULT 0 NOT NULL,
    taken integer DEFAULT 0 NOT NULL,
    refused integer DEFAULT 0 NOT NULL,
    problem text,
    swept_at timestamp with time zone,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL
);

CREATE TABLE public.workers (
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    slots integer NOT NULL,
    jobs uuid[] NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL
);

COPY public.alembic_version (version_num) FROM stdin;
0007
\.

COPY public.audit_entries (id, at, kept_until, act, outcome, code, user_id, email, role, province, municipality, address, agent, job_id, about) FROM stdin;
1	2026-11-28 20:22:19.061889+00	2028-11-27 20:22:18.829921+00	end	done	\N	\N	\N	\N	\N	\N	\N	tests	86138b1b-63c7-4706-a50a-42a6c36f89b4	attempt 1
2	2026-11-28 20:22:19.432773+00	2028-11-27 20:22:19.100234+00	end	done	\N	\N	\N	\N	\N	\N	\N	tests	f7782367-a4a6-43ad-bbb5-30002bf4c51c	attempt 1
\.

COPY public.audit_retention (the_one, days) FROM stdin;
t	730
\.

COPY public.column_mappings (province, municipality, fingerprint, columns, upload_id) FROM stdin;
\.

COPY public.ended_sessions (id, until) FROM stdin;
\.

COPY public.folder_state (the_one, is_running, changed_at, changed_by) FROM stdin;
t	t	2026-11-28 20:22:18.355711+00	\N
\.

COPY public.member_changes (upload_id, id_number, before, changed_at, edited_at) FROM stdin;
f7782367-a4a6-43ad-bbb5-30002bf4c51c	8001010000081	{"ward": "79800001", "gender": "female", "surname": "Last0", "province": "GP", "firstname": "First0", "id_number": "8001010000081", "changed_at": "2026-11-28T20:22:18.829921+00:00", "created_at": "2026-11-28T20:22:18.829921+00:00", "cell_number": "+27820000000", "citizenship": "citizen", "municipality": "Johannesburg", "date_of_birth": "1980-01-01", "changed_by_upload": "86138b1b-63c7-4706-a50a-42a6c36f89b4", "created_by_upload": "86138b1b-63c7-4706-a50a-42a6c36f89b4"}	2026-11-28 20:22:19.100234+00	\N
\.

COPY public.members (id_number, firstname, surname, date_of_birth, gender, citizenship, race, language, cell_number, landline_number, email, residential_address, occupation, qualification, province, region, municipality, ward, voting_station, voting_district, date_joined, last_payment, expiry_date, subscription, membership_amount, status, created_by_upload, changed_by_upload, created_at, changed_at, roll_status, roll_ward, roll_voting_district, roll_asked_at) FROM stdin;
8001010001089	First1	Last1	1980-01-01	female	citizen	\N	\N	+27820000001	\N	\N	\N	\N	\N	GP	\N	Johannesburg	79800001	\N	\N	\N	\N	\N	\N	\N	\N	86138b1b-63c7-4706-a50a-42a6c36f89b4	86138b1b-63c7-4706-a50a-42a6c36f89b4	2026-11-28 20:22:18.829921+00	2026-11-28 20:22:18.829921+00	\N	\N	\N	\N
8001010002087	First2	Last2	1980-01-01	female	citizen	\N	\N	+27820000002	\N	\N	\N	\N	\N	GP	\N	Johannesburg	79800001	\N	\N	\N	\N	\N	\N	\N	\N	86138b1b-63c7-4706-a50a-42a6c36f89b4	86138b1b-63c7-4706-a50a-42a6c36f89b4	2026-11-28 20:22:18.829921+00	2026-11-28 20:22:18.829921+00	\N	\N	\N	\N
8001010000081	First0	Changed	1980-01-01	female	citizen	\N	\N	+27820000000	\N	\N	\N	\N	\N	GP	\N	Johannesburg	79800001	\N	\N	\N	\N	\N	\N	\N	\N	86138b1b-63c7-4706-a50a-42a6c36f89b4	f7782367-a4a6-43ad-bbb5-30002bf4c51c	2026-11-28 20:22:18.829921+00	2026-11-28 20:22:19.100234+00	\N	\N	\N	\N
8001010007086	First7	Last7	1980-01-01	female	citizen	\N	\N	+27820000007	\N	\N	\N	\N	\N	GP	\N	Johannesburg	79800001	\N	\N	\N	\N	\N	\N	\N	\N	f7782367-a4a6-43ad-bbb5-30002bf4c51c	f7782367-a4a6-43ad-bbb5-30002bf4c51c	2026-11-28 20:22:19.100234+00	2026-11-28 20:22:19.100234+00	\N	\N	\N	\N
\.

COPY public.notifications (id, upload_id, attempt, kind, channel, created_at, tries, due_at, error_code, error, delivered_at, given_up_at) FROM stdin;
\.

COPY public.purges (id, ran_at, removed) FROM stdin;
\.

COPY public.sign_in_failures (key, failures, last_at, locked_until, is_noted) FROM stdin;
\.

COPY public.undo_kept (upload_id, id_number, reason, later_upload) FROM stdin;
\.

COPY public.upload_rows (upload_id, row_number, outcome, duplicate_of, problems) FROM stdin;
86138b1b-63c7-4706-a50a-42a6c36f89b4	2	inserted	\N	\N
86138b1b-63c7-4706-a50a-42a6c36f89b4	3	inserted	\N	\N
86138b1b-63c7-4706-a50a-42a6c36f89b4	4	inserted	\N	\N
f7782367-a4a6-43ad-bbb5-30002bf4c51c	2	updated	\N	\N
f7782367-a4a6-43ad-bbb5-30002bf4c51c	3	unchanged	\N	\N
f7782367-a4a6-43ad-bbb5-30002bf4c51c	4	inserted	\N	\N
f7782367-a4a6-43ad-bbb5-30002bf4c51c	5	invalid	\N	[{"code": "id_length", "value": "12", "column": "ID Number", "severity": "error"}]
\.

COPY public.uploads (id, ordinal, owner_id, province, municipality, file_name, file_kind, file_bytes, file_sha256, idempotency_key, priority, dry_run, existing, all_or_nothing, sheet, columns, status, attempt, attempts_before, worker, heartbeat_at, waiting_since, stage, progress, rows_done, rows_total, inserted, updated, unchanged, invalid, duplicate, out_of_scope, stage_seconds, error_code, error, source_key, report_key, refused_key, created_at, started_at, finished_at, verify, verification, verified_at, roll_registered, roll_other_ward, roll_without_district, roll_not_registered, roll_deceased, roll_international, roll_pending, roll_error, report_tables_key, undone_at, undone_by, undo_counts, purged_at, changes_forgotten_at, request_id, traceparent) FROM stdin;
86138b1b-63c7-4706-a50a-42a6c36f89b4	1	c7149209-07ce-4da0-9b0b-88537cfc7ff8	\N	\N	members.csv	csv	271	1cafb96cee82b0ccd89f926769693bc4ba0ccda7e4a77a3052d24ce7128d6f3f	\N	1	f	update	f	\N	\N	completed	1	0	tests	2026-11-28 20:22:18.829921+00	2026-11-28 20:22:18.817359+00	report	100	3	3	3	0	0	0	0	0	{"read": 0.018, "normalise": 0.101, "validate": 0.013, "match": 0.053, "verify": 0.001, "merge": 0.026, "report": 0.015}	\N	\N	86138b1b-63c7-4706-a50a-42a6c36f89b4/source.csv	86138b1b-63c7-4706-a50a-42a6c36f89b4/report-1.xlsx	\N	2026-11-28 20:22:18.817359+00	2026-11-28 20:22:18.819445+00	2026-11-28 20:22:19.057254+00	after_merge	off	\N	0	0	0	0	0	0	0	0	\N	\N	\N	\N	\N	\N	\N	\N
f7782367-a4a6-43ad-bbb5-30002bf4c51c	2	c7149209-07ce-4da0-9b0b-88537cfc7ff8	\N	\N	more.csv	csv	330	c43edda4e7de8160f0fae8fc9e3f56c82b056681d04638faf0a71dc93146ea6c	\N	1	f	update	f	\N	\N	completed	1	0	tests	2026-11-28 20:22:19.100234+00	2026-11-28 20:22:19.096004+00	report	100	4	4	1	1	1	1	0	0	{"read": 0.018, "normalise": 0.128, "validate": 0.045, "match": 0.018, "verify": 0.003, "merge": 0.028, "report": 0.086}	\N	\N	f7782367-a4a6-43ad-bbb5-30002bf4c51c/source.csv	f7782367-a4a6-43ad-bbb5-30002bf4c51c/report-1.xlsx	f7782367-a4a6-43ad-bbb5-30002bf4c51c/refused-1.xlsx	2026-11-28 20:22:19.096004+00	2026-11-28 20:22:19.096871+00	2026-11-28 20:22:19.432312+00	after_merge	off	\N	0	0	0	0	0	0	0	0	\N	\N	\N	\N	\N	\N	\N	\N
\.

COPY public.used_once (id, until) FROM stdin;
\.

COPY public.users (id, email, name, role, province, municipality, password_hash, tokens_from, disabled_at, created_at, is_system, oidc_issuer, oidc_subject) FROM stdin;
b6cc4ca7-10c0-4685-9650-e85518f6ba29	folder	Watched folder	national_admin	\N	\N		1970-01-01 00:00:00+00	\N	2026-11-28 20:22:18.355711+00	t	\N	\N
c7149209-07ce-4da0-9b0b-88537cfc7ff8	office@example.org		super_admin	\N	\N	none	1970-01-01 00:00:00+00	\N	2026-11-28 20:22:18.790852+00	f	\N	\N
\.

COPY public.verifications (upload_id, row_number, id_number, file_ward, result) FROM stdin;
\.

COPY public.voter_roll_answers (id_number, status, ward, voting_district, voting_station, municipality, province, asked_at) FROM stdin;
\.

COPY public.voter_roll_questions (id_number, upload_ordinal, row_number, due_at, failures, error) FROM stdin;
\.

COPY public.voter_roll_requests (id, sent_at) FROM stdin;
\.

COPY public.voter_roll_state (the_one, failures, probes, down_since, probe_at, error_code, error, last_answer_at) FROM stdin;
t	0	0	\N	\N	\N	\N	\N
\.

COPY public.watchers (name, host, pid, folder, has_events, waiting, taken, refused, problem, swept_at, started_at, heartbeat_at) FROM stdin;
\.

COPY public.workers (name, host, pid, slots, jobs, started_at, heartbeat_at) FROM stdin;
\.

SELECT pg_catalog.setval('public.audit_entries_id_seq', 2, true);

SELECT pg_catalog.setval('public.purges_id_seq', 1, false);

SELECT pg_catalog.setval('public.uploads_ordinal_seq', 2, true);

SELECT pg_catalog.setval('public.voter_roll_requests_id_seq', 1, false);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.audit_entries
    ADD CONSTRAINT audit_entries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit_retention
    ADD CONSTRAINT audit_retention_pkey PRIMARY KEY (the_one);

ALTER TABLE ONLY public.column_mappings
    ADD CONSTRAINT column_mappings_province_municipality_fingerprint_key UNIQUE NULLS NOT DISTINCT (province, municipality, fingerprint);

ALTER TABLE ONLY public.ended_sessions
    ADD CONSTRAINT ended_sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.folder_state
    ADD CONSTRAINT folder_state_pkey PRIMARY KEY (the_one);

ALTER TABLE ONLY public.member_changes
    ADD CONSTRAINT member_changes_pkey PRIMARY KEY (upload_id, id_number);

ALTER TABLE ONLY public.members
    ADD CONSTRAINT members_pkey PRIMARY KEY (id_number);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_upload_id_attempt_kind_channel_key UNIQUE (upload_id, attempt, kind, channel);

ALTER TABLE ONLY public.purges
    ADD CONSTRAINT purges_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.undo_kept
    ADD CONSTRAINT undo_kept_pkey PRIMARY KEY (upload_id, id_number);

ALTER TABLE ONLY public.upload_rows
    ADD CONSTRAINT upload_rows_pkey PRIMARY KEY (upload_id, row_number);

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.used_once
    ADD CONSTRAINT used_once_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.verifications
    ADD CONSTRAINT verifications_pkey PRIMARY KEY (upload_id, row_number);

ALTER TABLE ONLY public.voter_roll_answers
    ADD CONSTRAINT voter_roll_answers_pkey PRIMARY KEY (id_number);

ALTER TABLE ONLY public.voter_roll_questions
    ADD CONSTRAINT voter_roll_questions_pkey PRIMARY KEY (id_number);

ALTER TABLE ONLY public.voter_roll_requests
    ADD CONSTRAINT voter_roll_requests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.voter_roll_state
    ADD CONSTRAINT voter_roll_state_pkey PRIMARY KEY (the_one);

ALTER TABLE ONLY public.watchers
    ADD CONSTRAINT watchers_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (name);

CREATE INDEX audit_entries_by_act ON public.audit_entries USING btree (act, id);

CREATE INDEX audit_entries_by_end ON public.audit_entries USING btree (kept_until);

CREATE INDEX audit_entries_by_job ON public.audit_entries USING btree (job_id, id) WHERE (job_id IS NOT NULL);

CREATE INDEX audit_entries_by_user ON public.audit_entries USING btree (user_id, id) WHERE (user_id IS NOT NULL);

CREATE INDEX ended_sessions_by_time ON public.ended_sessions USING btree (until);

CREATE INDEX notifications_by_time ON public.notifications USING btree (created_at);

CREATE INDEX notifications_open ON public.notifications USING btree (due_at) WHERE ((delivered_at IS NULL) AND (given_up_at IS NULL));

CREATE INDEX purges_by_time ON public.purges USING btree (ran_at);

CREATE INDEX sign_in_failures_by_time ON public.sign_in_failures USING btree (last_at);

CREATE INDEX uploads_by_claim ON public.uploads USING btree (idempotency_key) WHERE (idempotency_key ~~ 'folder:%'::text);

CREATE INDEX uploads_by_content ON public.uploads USING btree (file_sha256, created_at);

CREATE INDEX uploads_by_ordinal ON public.uploads USING btree (ordinal);

CREATE UNIQUE INDEX uploads_idempotency_key ON public.uploads USING btree (owner_id, idempotency_key);

CREATE INDEX uploads_open ON public.uploads USING btree (priority, ordinal) WHERE (status = ANY (ARRAY['pending'::text, 'processing'::text]));

CREATE INDEX uploads_unpurged ON public.uploads USING btree (finished_at) WHERE ((purged_at IS NULL) AND (finished_at IS NOT NULL));

CREATE INDEX uploads_unverified ON public.uploads USING btree (ordinal) WHERE (verification = 'pending'::text);

CREATE INDEX used_once_until ON public.used_once USING btree (until);

CREATE UNIQUE INDEX users_email_key ON public.users USING btree (lower(email));

CREATE UNIQUE INDEX users_oidc_key ON public.users USING btree (oidc_issuer, oidc_subject);

CREATE INDEX verifications_pending ON public.verifications USING btree (id_number) WHERE (result = 'pending'::text);

CREATE INDEX voter_roll_questions_in_order ON public.voter_roll_questions USING btree (upload_ordinal, row_number);

CREATE INDEX voter_roll_requests_by_time ON public.voter_roll_requests USING btree (sent_at);

CREATE TRIGGER keep_audit_entries BEFORE DELETE OR UPDATE ON public.audit_entries FOR EACH ROW EXECUTE FUNCTION public.keep_audit_entries();

ALTER TABLE public.audit_entries ENABLE ALWAYS TRIGGER keep_audit_entries;

CREATE TRIGGER keep_audit_entries_whole BEFORE TRUNCATE ON public.audit_entries FOR EACH STATEMENT EXECUTE FUNCTION public.keep_audit_entries();

ALTER TABLE public.audit_entries ENABLE ALWAYS TRIGGER keep_audit_entries_whole;

CREATE TRIGGER keep_before_values AFTER UPDATE ON public.members REFERENCING OLD TABLE AS former NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION public.keep_before_values();

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uploads_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);
