"""The tutorial's steps with the client that openapi-python-client has made.

Usage: tutorial.py FOLDER_OF_THE_CLIENT URL EMAIL PASSWORD FILE
"""

from __future__ import annotations

import json
import sys
import time
from io import BytesIO
from pathlib import Path

#: Seconds for which the upload is followed.
PATIENCE_S = 60


def main(folder: str, url: str, email: str, password: str, path: str) -> None:
    """Sign in, make a key, send the file with it, follow it, and read its outcome."""
    sys.path.insert(0, folder)
    from rollbook_client import AuthenticatedClient, Client
    from rollbook_client.api.auth import sign_in
    from rollbook_client.api.keys import make_key, revoke_key
    from rollbook_client.api.uploads import (
        download_refused_rows,
        download_report,
        get_upload,
        list_rows,
        send_file,
    )
    from rollbook_client.models import (
        Credentials,
        ListRowsAttentionType0,
        NewKey,
        NewKeyScopesItem,
        Problem,
        SendFileBody,
    )
    from rollbook_client.types import File

    signed_in = sign_in.sync(
        client=Client(base_url=url), body=Credentials(email=email, password=password)
    )
    person = AuthenticatedClient(base_url=url, token=signed_in.data.token)
    scopes = [NewKeyScopesItem.UPLOAD, NewKeyScopesItem.READ]
    made = make_key.sync(client=person, body=NewKey(name="tutorial", scopes=scopes))
    client = AuthenticatedClient(base_url=url, token=made.data.key)

    content = BytesIO(Path(path).read_bytes())
    body = SendFileBody(file=File(payload=content, file_name=Path(path).name))
    job_id = send_file.sync(client=client, body=body).data.job_id
    end = time.monotonic() + PATIENCE_S
    while (upload := get_upload.sync(job_id, client=client).data).status != "completed":
        assert time.monotonic() < end, upload
        time.sleep(0.1)
    refused = list_rows.sync(job_id, client=client, attention=ListRowsAttentionType0.REFUSED)
    report = download_report.sync_detailed(job_id, client=client)
    rows = download_refused_rows.sync_detailed(job_id, client=client)
    revoke_key.sync(made.data.key_id, client=person)
    after = get_upload.sync(job_id, client=client)
    assert isinstance(after, Problem)
    print(  # noqa: T201 - what the test reads
        json.dumps(
            {
                "rows": upload.rows_total,
                "outcomes": upload.outcomes.to_dict(),
                "created": upload.created_at.isoformat(),
                "refused": refused.data.total,
                "report": report.parsed.payload.getvalue()[:2].decode(),
                "refused_rows": rows.parsed.payload.getvalue()[:2].decode(),
                "after": after.status,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
