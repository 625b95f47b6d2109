"""The SQL fragments of a merge rule, which uploads share, are those of the upload's options."""

from __future__ import annotations

from uuid import UUID, uuid4

from rollbook import fields
from rollbook.fields import NONE, OwnField, OwnFields, Rule
from rollbook.model import Scope
from rollbook.pipeline.merge_rule import merge_rule

UPLOAD, GAUTENG = UUID(int=1), Scope("GP")
BRANCH = OwnFields((OwnField("branch", ("Branch",), "text", Rule()),))


def rule(
    own: OwnFields = NONE,
    existing: str = "update",
    emptied: tuple[str, ...] = (),
    *,
    upload_id: UUID = UPLOAD,
    scope: Scope = GAUTENG,
    has_documents: bool = False,
) -> dict[str, str]:
    with fields.using(own):
        found = merge_rule(
            scope, existing, upload_id, emptied, has_documents=has_documents, has_own=bool(own)
        )
    return {name: fragment.as_string() for name, fragment in found.items()}


def test_every_option_changes_the_fragments_that_it_is_for() -> None:
    plain = rule()
    for changed, names in (
        (rule(BRANCH), {"fields", "names", "changed"}),
        (rule(existing="fill"), {"after", "after_expiry", "existing"}),
        (rule(emptied=("email",)), {"after", "empties", "agreed"}),
        (rule(has_documents=True), {"identity", "identity_of"}),
        (rule(upload_id=uuid4()), {"upload_id"}),
        (rule(scope=Scope("LP", "Polokwane")), {"province", "municipality"}),
    ):
        differing = {name for name, text in changed.items() if text != plain[name]}
        assert names <= differing
        assert changed.keys() == plain.keys()
    assert rule() == plain  # and none of it stays


def test_an_own_field_of_another_name_is_another_fragment() -> None:
    other = OwnFields((OwnField("region", ("Region",), "text", Rule()),))
    assert BRANCH.fields[0].key in rule(BRANCH)["names"]
    assert BRANCH.fields[0].key not in rule(other)["names"]
    assert other.fields[0].key in rule(other)["names"]
