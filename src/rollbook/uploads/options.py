"""The options of an upload, declared once for the form, the routes, the command and the record."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rollbook.accounts import audit
from rollbook.errors import InvalidRequestError
from rollbook.masking import masked, visible
from rollbook.model import Existing, UploadKind, User, Verify
from rollbook.pipeline.columns import key, variants

if TYPE_CHECKING:
    from typing import Self


def columns_from(given: object) -> object:
    """The fields by header, from a JSON object of header to field or null.

    Raises:
        ValueError: it is something else, names an unknown field, or a header twice.
    """
    if given is None:
        return None
    try:
        columns = (
            given
            if isinstance(given, dict)
            else json.loads(str(given), object_pairs_hook=_named_once)
        )
    except (json.JSONDecodeError, RecursionError):
        columns = None
    if not isinstance(columns, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors only
            'give a JSON object of header to field, such as {"Lid No": "id_number"}'
        )
    for header, field in columns.items():
        if "\0" in header:  # PostgreSQL can't store it
            raise ValueError(f"the header {header!r} has a NUL character")
        if field is not None and (not isinstance(field, str) or field not in variants()):
            raise ValueError(
                f"there is no field {field!r} for the header {header!r}. The fields are "
                f"{', '.join(variants())}; null leaves a column out"
            )
    return columns


def _list_fields(schema: dict[str, Any]) -> None:
    """Say in the OpenAPI document which fields there are, and what no header has."""
    field = {"type": "string", "enum": list(variants())}
    schema["additionalProperties"] = {"anyOf": [field, {"type": "null"}]}
    schema["propertyNames"] = {"pattern": r"^[^\x00]*$"}  # PostgreSQL can't store a NUL


#: A JSON body's object of header to field, or null; ``columns_from`` checks it.
FieldByHeader = Annotated[dict[str, str | None], Field(json_schema_extra=_list_fields)]

#: Characters of the text that empties a field.
MOST_EMPTY_CHARS: Final = 40
#: Latin letters, signs and spaces: cleaning a cell leaves something of them. Digits may be a value.
_PLAIN: Final = re.compile(r"[ -/:-~\u00c0-\u024f\u1e00-\u1eff]+\Z")


def _empty_text(given: object) -> object:
    """The text that empties a field, without spaces at its ends.

    Raises:
        ValueError: it is too long, or cells can't have it.
    """
    if not isinstance(given, str):
        return given
    text = given.strip()
    if len(text) > MOST_EMPTY_CHARS or not text.strip("\"' ") or not _PLAIN.match(text):
        raise ValueError(
            f"give a text of 1 to {MOST_EMPTY_CHARS} Latin letters and signs, without digits, that "
            "no cell has as its value, such as [empty]"
        )
    return text


def _stripped(given: object) -> object:
    """A text without spaces at its ends: blank is too short for what needs a text."""
    return given.strip() if isinstance(given, str) else given


def _names_nobody(reason: str) -> str:
    """Refuse an ID number in a reason, which is shown and stored beyond the member's record.

    Raises:
        ValueError: there is one.
    """
    if masked(reason) != reason:
        raise ValueError("it holds an ID number. Give a reason that names no person")
    return reason


#: The status that a removal gives. Never blank: without a status the members are removed.
NewStatus = Annotated[
    str, BeforeValidator(_stripped), Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
]
#: Why members are removed or changed.
Reason = Annotated[
    str,
    BeforeValidator(_stripped),
    AfterValidator(_names_nobody),
    Field(min_length=3, max_length=500, pattern=r"^[^\x00]*$"),
]


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated headers, compared without spaces, case and punctuation."""
    seen: set[str] = set()
    for header, _ in pairs:
        if key(header) in seen:
            raise ValueError(f"the header {header!r} is named twice. Name each header once")
        seen.add(key(header))
    return dict(pairs)


class Choices(BaseModel):
    """What a sender may choose: the fields of the form, and the options of the command."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool = Field(default=False, description="Do everything, but change no member.")
    allow_duplicate: bool = Field(default=False, description="Accept a file that was sent before.")
    existing: Existing = Field(
        "update",
        description="Members that exist: take the file's values (update), fill empty fields only "
        "(fill), or leave them unchanged (skip).",
    )
    all_or_nothing: bool = Field(
        default=False, description="Refuse the whole file for one refused row."
    )
    verify: Verify = Field(
        "after_merge",
        description="Ask the voter roll after the merge, with rows pending until it answers, or "
        "merge only when all its answers are in.",
    )
    sheet: str | None = Field(
        None,
        description="The sheet to read; default: the first visible one with a column of ID "
        "numbers. `*`: all visible sheets with members, as one table.",
    )
    columns: Annotated[
        dict[str, str | None] | None,
        BeforeValidator(columns_from),
        WithJsonSchema({"type": "string", "examples": ['{"Lid No": "id_number"}']}),
    ] = Field(
        None,
        description="A JSON object of header to field for headers that Rollbook does not know; "
        "null leaves a column out. Remembered for your office's next files with these headers.",
    )
    empty_text: Annotated[str | None, BeforeValidator(_empty_text)] = Field(
        None,
        description="The text of a cell that empties its field, such as `[empty]`; case does not "
        "matter. Without it, no cell ever empties a field. Only with existing=update.",
    )

    kind: UploadKind = Field(
        "members",
        description="members: the file's people become members, or are changed. removal: it lists "
        "members by ID number who are removed, or get `new_status`; no other column counts.",
    )
    new_status: NewStatus | None = Field(
        None,
        description="Of a removal: the members stay and get this status. Leave it out to remove "
        "them; blank is refused.",
    )
    reason: Reason | None = Field(
        None, description="Of a removal, which needs one: why. It must not name a person."
    )

    @model_validator(mode="after")
    def _removes_with_a_reason(self) -> Self:
        if self.kind == "removal" and self.reason is None:
            raise PydanticCustomError(
                "reason", "say why these members are removed or changed, in 3 to 500 characters"
            )
        if self.kind == "members" and (self.reason is not None or self.new_status is not None):
            raise PydanticCustomError(
                "kind", "new_status and reason are for kind=removal only. Leave them out"
            )
        given = {"existing", "empty_text", "verify"} & self.model_fields_set
        if self.kind == "removal" and any(
            getattr(self, name) != type(self).model_fields[name].default for name in given
        ):
            raise PydanticCustomError(
                "kind", "a removal has no existing, empty_text and verify. Leave them out"
            )
        return self

    @model_validator(mode="after")
    def _empties_what_it_may_change(self) -> Self:
        if self.empty_text is not None and self.existing != "update":
            raise PydanticCustomError(
                "empty_text",
                "empty_text removes values of members, and existing={existing} changes none. Use "
                "existing=update, or leave empty_text out",
                {"existing": self.existing},
            )
        return self

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The options that a sender typed; None and an empty text mean the default.

        But an empty ``new_status`` of a removal is refused: its default removes the members.

        Raises:
            InvalidRequestError: one of them can't be used.
        """
        refused_if_empty = {"new_status"} if given.get("kind") == "removal" else set()
        try:
            return cls.model_validate(
                {
                    name: v
                    for name, v in given.items()
                    if v is not None and (v != "" or name in refused_if_empty)
                }
            )
        except ValidationError as error:
            errors = [
                {
                    # A rule about several fields names the one that it is for.
                    "field": str(one["loc"][0] if one["loc"] else one["type"]),
                    "message": masked(visible(one["msg"].removeprefix("Value error, "))),
                }
                for one in error.errors()
            ]
            named = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
            raise InvalidRequestError(f"{named}. Nothing was kept.", errors=errors) from None


class Options(Choices):
    """A sender's choices, and how the file came in."""

    idempotency_key: str | None = None
    #: None: the priority of the sender's role.
    priority: int | None = None
    #: For the audit trail: the act, the acting user if not the owner, and the subject.
    act: audit.Act = "upload"
    by: InstanceOf[User] | None = None
    about: str | None = None

    def recorded(self) -> dict[str, Any]:
        """The choices that the upload's row holds, by column."""
        return self.model_dump(include=_RECORDED)


#: The columns with the sender's choices. A real run of a dry run's file copies them.
_RECORDED = Choices.model_fields.keys() - {"allow_duplicate"}
