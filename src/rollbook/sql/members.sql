-- name: stage
-- The rows of the file that may be merged; gone with the transaction.
CREATE TEMPORARY TABLE staged (
    id_number text COLLATE "C" NOT NULL, firstname text, surname text, date_of_birth date,
    gender text, citizenship text, race text, language text, cell_number text,
    landline_number text, email text, residential_address text, occupation text,
    qualification text, province text, region text, municipality text, ward text,
    voting_station text, voting_district text, date_joined date, last_payment date,
    expiry_date date, subscription text, membership_amount numeric(12, 2), status text
) ON COMMIT DROP;

-- name: fill_staged
-- The rows, as CSV in the order of the columns above; an unquoted nothing is null.
COPY staged FROM STDIN (FORMAT csv);

-- name: analyze_staged
-- Without statistics the planner takes the staged rows for a handful and loops over them. Only the
-- key is joined by.
ANALYZE staged (id_number);

-- name: existing
-- What the record says of the file's people before the merge.
COPY (
    SELECT m.id_number, m.firstname, m.surname, m.province, m.municipality, m.ward,
           m.voting_district
    FROM members AS m JOIN staged USING (id_number)
) TO STDOUT (FORMAT csv);

-- name: merge
-- Insert the new, update the changed, leave the others alone; which of the first two became of
-- a row is what comes back. In the order of the key, so that two merges can't lock each other out
-- and the index is written from left to right. An empty cell never erases a stored value. A member
-- of another office isn't touched, even if it became that a moment ago.
COPY (
    INSERT INTO members AS m (
        id_number, firstname, surname, date_of_birth, gender, citizenship, race, language,
        cell_number, landline_number, email, residential_address, occupation, qualification,
        province, region, municipality, ward, voting_station, voting_district, date_joined,
        last_payment, expiry_date, subscription, membership_amount, status,
        created_by_upload, changed_by_upload)
    SELECT staged.*, {upload_id}, {upload_id} FROM staged ORDER BY id_number
    ON CONFLICT (id_number) DO UPDATE SET
        firstname = excluded.firstname,
        surname = excluded.surname,
        date_of_birth = excluded.date_of_birth,
        gender = COALESCE(excluded.gender, m.gender),
        citizenship = COALESCE(excluded.citizenship, m.citizenship),
        race = COALESCE(excluded.race, m.race),
        language = COALESCE(excluded.language, m.language),
        cell_number = COALESCE(excluded.cell_number, m.cell_number),
        landline_number = COALESCE(excluded.landline_number, m.landline_number),
        email = COALESCE(excluded.email, m.email),
        residential_address = COALESCE(excluded.residential_address, m.residential_address),
        occupation = COALESCE(excluded.occupation, m.occupation),
        qualification = COALESCE(excluded.qualification, m.qualification),
        province = COALESCE(excluded.province, m.province),
        region = COALESCE(excluded.region, m.region),
        municipality = COALESCE(excluded.municipality, m.municipality),
        ward = COALESCE(excluded.ward, m.ward),
        voting_station = COALESCE(excluded.voting_station, m.voting_station),
        voting_district = COALESCE(excluded.voting_district, m.voting_district),
        date_joined = COALESCE(excluded.date_joined, m.date_joined),
        last_payment = COALESCE(excluded.last_payment, m.last_payment),
        expiry_date = COALESCE(excluded.expiry_date, m.expiry_date),
        subscription = COALESCE(excluded.subscription, m.subscription),
        membership_amount = COALESCE(excluded.membership_amount, m.membership_amount),
        status = COALESCE(excluded.status, m.status),
        changed_by_upload = excluded.changed_by_upload,
        changed_at = now()
    WHERE takes_from_nobody(m.province, m.municipality, {province}, {municipality})
      AND (m.firstname, m.surname, m.date_of_birth, m.gender, m.citizenship, m.race, m.language,
           m.cell_number, m.landline_number, m.email, m.residential_address, m.occupation,
           m.qualification, m.province, m.region, m.municipality, m.ward, m.voting_station,
           m.voting_district, m.date_joined, m.last_payment, m.expiry_date, m.subscription,
           m.membership_amount, m.status)
          IS DISTINCT FROM
          (excluded.firstname, excluded.surname, excluded.date_of_birth,
           COALESCE(excluded.gender, m.gender), COALESCE(excluded.citizenship, m.citizenship),
           COALESCE(excluded.race, m.race), COALESCE(excluded.language, m.language),
           COALESCE(excluded.cell_number, m.cell_number),
           COALESCE(excluded.landline_number, m.landline_number),
           COALESCE(excluded.email, m.email),
           COALESCE(excluded.residential_address, m.residential_address),
           COALESCE(excluded.occupation, m.occupation),
           COALESCE(excluded.qualification, m.qualification),
           COALESCE(excluded.province, m.province), COALESCE(excluded.region, m.region),
           COALESCE(excluded.municipality, m.municipality), COALESCE(excluded.ward, m.ward),
           COALESCE(excluded.voting_station, m.voting_station),
           COALESCE(excluded.voting_district, m.voting_district),
           COALESCE(excluded.date_joined, m.date_joined),
           COALESCE(excluded.last_payment, m.last_payment),
           COALESCE(excluded.expiry_date, m.expiry_date),
           COALESCE(excluded.subscription, m.subscription),
           COALESCE(excluded.membership_amount, m.membership_amount),
           COALESCE(excluded.status, m.status))
    RETURNING m.id_number, CASE WHEN m.xmax = 0 THEN 'inserted' ELSE 'updated' END
) TO STDOUT (FORMAT csv);

-- name: taken
-- Staged rows that the merge refused because the member is another office's by now.
COPY (
    SELECT m.id_number FROM members AS m JOIN staged USING (id_number)
    WHERE NOT takes_from_nobody(m.province, m.municipality, {province}, {municipality})
) TO STDOUT (FORMAT csv);

-- name: keep_rows
-- What became of each row of the file.
COPY upload_rows (upload_id, row_number, outcome, duplicate_of, problems)
FROM STDIN (FORMAT csv);

-- name: forget_rows
-- An earlier attempt of this upload that ended in the middle left none; a dry run did.
DELETE FROM upload_rows WHERE upload_id = %(upload_id)s;
