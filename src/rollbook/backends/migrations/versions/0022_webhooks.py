"""Webhooks of offices, beside the one of the settings."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Create the table; an older version of Rollbook delivers to the settings' webhook only."""
    op.execute("""
    CREATE TABLE webhooks (
        id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        -- Whose uploads it hears: its office's; null in both: all.
        province       text,
        municipality   text,
        made_by        uuid NOT NULL REFERENCES users (id),
        url            text NOT NULL,
        events         text[] NOT NULL,
        -- It signs messages; the former one signs too, for as long as it is good.
        secret         bytea NOT NULL,
        former_secret  bytea,
        former_until   timestamptz,
        is_active      boolean NOT NULL DEFAULT true,
        created_at     timestamptz NOT NULL DEFAULT now(),
        changed_at     timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX webhooks_by_office ON webhooks (province, municipality);

    -- An older version claims by channel, so that it never sends these to another address.
    ALTER TABLE notifications
        DROP CONSTRAINT notifications_channel_check,
        DROP CONSTRAINT notifications_upload_id_attempt_kind_channel_key,
        ADD CONSTRAINT notifications_channel_check
            CHECK (channel IN ('email', 'webhook', 'office_webhook')),
        ADD webhook_id uuid REFERENCES webhooks (id) ON DELETE CASCADE,
        -- The status of the receiver's last answer; null where there was none.
        ADD answer_status integer,
        ADD tried_at      timestamptz,
        -- Until when a worker delivers it.
        ADD claimed_until timestamptz,
        ADD CONSTRAINT only_an_office_webhook_has_an_id
            CHECK ((channel = 'office_webhook') = (webhook_id IS NOT NULL)),
        ADD CONSTRAINT notifications_once
            UNIQUE NULLS NOT DISTINCT (upload_id, attempt, kind, channel, webhook_id);
    CREATE INDEX notifications_claimed ON notifications (webhook_id)
        WHERE webhook_id IS NOT NULL AND claimed_until IS NOT NULL;
    CREATE INDEX notifications_by_webhook ON notifications (webhook_id, created_at)
        WHERE webhook_id IS NOT NULL;
    """)


def downgrade() -> None:
    """Drop them, with what is still to be delivered to offices' webhooks."""
    op.execute("""
    DELETE FROM notifications WHERE channel = 'office_webhook';
    ALTER TABLE notifications
        DROP CONSTRAINT notifications_once,
        DROP CONSTRAINT only_an_office_webhook_has_an_id,
        DROP COLUMN claimed_until,
        DROP COLUMN tried_at,
        DROP COLUMN answer_status,
        DROP COLUMN webhook_id,
        DROP CONSTRAINT notifications_channel_check,
        ADD CONSTRAINT notifications_channel_check CHECK (channel IN ('email', 'webhook')),
        ADD UNIQUE (upload_id, attempt, kind, channel);
    DROP TABLE webhooks;
    """)
