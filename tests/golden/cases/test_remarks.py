"""Columns that aren't read and statuses which speak against a row, end to end."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from rollbook import languages
from rollbook.pipeline import problems
from tests.files import id_number, one_sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.desk import Desk, Taken

NOW = dt.datetime(2026, 11, 29, 8, 0, tzinfo=dt.UTC)
Says = dict[str, str | None]
LEFT, NO_MEMBER, NOT_PAID = "may_have_left", "may_be_no_member", "payment_failed"
CORRECTS = "remark_corrects"
NAMES = ("ID Number", "Firstname", "Surname", "Last Payment")
PAID = "2026-03-01"


def send(desk: Desk, columns: Mapping[str, Says], payment: str = PAID) -> tuple[Taken, list[Says]]:
    """Send a row for each cell of each column, and give what is said of each column's cells."""
    cells = [(header, cell) for header, says in columns.items() for cell in says]
    rows = [
        (
            *(id_number(number), "Nomsa", "Dube", payment),
            *(text if one == header else "" for one in columns),
        )
        for number, (header, text) in enumerate(cells)
    ]
    done = desk.send(one_sheet([(*NAMES, *columns), *rows]), "list.xlsx")
    assert done.verdicts == {"valid": len(cells)}
    said: dict[str, Says] = {header: {} for header in columns}
    for (header, cell), row in zip(cells, done.rows, strict=True):
        found = [(one["column"], one["code"]) for one in row["problems"] or ()]
        assert {column for column, _ in found} <= {header}
        said[header][cell] = next((code for _, code in found), None)
        assert len(found) <= 1
    return done, list(said.values())


@pytest.mark.parametrize("language", languages.available())
def test_the_reasons_of_refused_rows_that_come_back_are_no_remarks(
    language: str, desk: Desk
) -> None:
    with languages.speaking(language):
        added = [languages.phrase(f"refused.{name}") for name in ("sent_row", "errors")]
        texts = [f"ID Number: {problem.sentence}" for problem in problems.catalogue().values()]
    rows = [(id_number(n), "Nomsa", "Dube", PAID, n, text) for n, text in enumerate(texts)]
    for headers in ((*NAMES, *added), (*NAMES, *added, "Checked by")):
        taken = desk.send(one_sheet([headers, *rows]), "refused.xlsx")
        assert not any(row["problems"] for row in taken.rows)
    # Another office's column of this name is one of remarks.
    taken = desk.send(one_sheet([(*NAMES, "No", added[1]), (*rows[0][:5], "deceased")]), "a.xlsx")
    assert [one["code"] for one in taken.rows[0]["problems"]] == [LEFT]


def test_a_payment_that_failed_is_flagged(desk: Desk) -> None:
    columns: dict[str, Says] = {
        "Payment Status": {
            "Paid": None, "Unpaid": NOT_PAID, "Failed": NOT_PAID, "Reversed": NOT_PAID,
            "Returned - no funds": NOT_PAID, "Pending": NOT_PAID, "Successful": None,
        },
        "Bank Response": {
            "00 Accepted": None, "02 Not provided for": NOT_PAID, "R/D": NOT_PAID,
            "Account closed": NOT_PAID, "Refer to drawer": NOT_PAID, "Rejected": NOT_PAID,
        },
        "Paid?": {"Yes": None, "No": NOT_PAID, "not yet paid": NOT_PAID, "R20": None},
        "Status": {"Paid": None, "Arrears": None, "Reversed": NOT_PAID, "Unpaid": None},
        "Remarks": {
            "cheque bounced": NOT_PAID, "debietorder misluk": NOT_PAID, "paid late": None,
            "Refund - see bank": NOT_PAID, "names reversed on card": None,
        },
        "2025": {"not paid": None, "R120": None},
        "Payment Method": {"Debit order": None, "Stop order": None},
    }  # fmt: skip
    _, said = send(desk, columns)
    assert said == list(columns.values())


def test_of_a_row_without_a_payment_it_does_not_matter(desk: Desk) -> None:
    columns: dict[str, Says] = {"Payment Status": {"Unpaid": None}, "Remarks": {"R/D": None}}
    _, said = send(desk, columns, payment="")
    assert said == list(columns.values())


def test_one_who_may_be_no_member_is_flagged(desk: Desk) -> None:
    columns: dict[str, Says] = {
        "Relationship": {
            "Self": None, "Main member": None, "Wife": NO_MEMBER, "Son": NO_MEMBER,
            "Child 2": NO_MEMBER, "Dependant": NO_MEMBER, "Beneficiary": NO_MEMBER,
        },
        "Type": {
            "Member": None, "Ordinary": None, "Spouse": NO_MEMBER, "Visitor": NO_MEMBER,
            "Applicant": NO_MEMBER,
        },
        "Member/Dependant": {"M": None, "D": NO_MEMBER},
        "Approved": {"Yes": None, "No": NO_MEMBER, "Pending": NO_MEMBER},
        "Application Status": {"Approved": None, "Rejected": NO_MEMBER},
        "Do you consent to your information being processed?": {
            "I agree": None, "I do not agree": NO_MEMBER,
        },
        "Consent to marketing": {"No": None},
        "Status": {"Active": None, "Rejected": NO_MEMBER, "Visitor": NO_MEMBER},
        "Notes": {
            "EXAMPLE - delete this row": NO_MEMBER, "e.g.": NO_MEMBER, "test entry": NO_MEMBER,
            "Duplicate of row 5": NO_MEMBER, "duplicate card issued": None, "dubbel": NO_MEMBER,
            "set a good example": None, "visitor centre": None,
        },
    }  # fmt: skip
    _, said = send(desk, columns)
    assert said == list(columns.values())


def test_a_relationship_may_be_that_of_the_next_of_kin(desk: Desk) -> None:
    columns: dict[str, Says] = {
        "Next of kin": {"Thandi Nkosi": None},
        "Relationship": {"Wife": None},
        "Relationship to main member": {"Wife": NO_MEMBER, "Self": None},
    }
    _, said = send(desk, columns)
    assert said == list(columns.values())


def test_one_who_goes_in_a_list_of_changes_is_flagged(desk: Desk) -> None:
    columns: dict[str, Says] = {
        "Action": {"Add": None, "Update": None, "Terminate": LEFT, "Stop": LEFT, "delete": LEFT},
        "Transaction Type": {"New member": None, "Transfer out": LEFT, "Termination": LEFT},
        "Movement": {"IN": None, "OUT": LEFT},
        "Time out": {"17:00": None},
        "Date out": {"2026-01-01": LEFT},
        "Number belongs to": {"own": None, "Mother": LEFT, "his neighbour": LEFT},
        "Phone Type": {"Mobile": None, "Work": None, "Mother": LEFT},
        "Opt out": {"Yes": LEFT, "No": None},
        "ID Verified": {"Yes": None, "Invalid ID": LEFT, "Deceased per DHA": LEFT},
        "Status": {
            "Struck off": LEFT, "Dismissed": LEFT, "Withdrawn": LEFT, "Lapsed": None,
            "Uitgetree": LEFT,
        },
        "Remarks": {
            "†": LEFT, "not staying here anymore": LEFT, "ID belongs to sister": LEFT,
            "Skrap asb": LEFT, "Dec'd": LEFT, "out of town": None, "stop order form signed": None,
        },
    }  # fmt: skip
    _, said = send(desk, columns)
    assert said == list(columns.values())


def test_a_remark_that_corrects_the_row_is_flagged(desk: Desk) -> None:
    other, spaced = id_number(900), id_number(901)
    columns: dict[str, Says] = {
        "Comment": {
            f"correct ID {other}": CORRECTS, "surname now Zwane": CORRECTS,
            "new cell 0831112222": CORRECTS, "cell belongs to husband": CORRECTS,
            "Surname should be Nkosi": CORRECTS, "number not in use": CORRECTS,
            "van is nou Botha": CORRECTS, "nuwe nommer": CORRECTS, "new member": None,
            "8001015009086": None, "right hand injured": None, "name on list": None,
        },
        "ID Number 2": {f"{spaced[:6]} {spaced[6:10]} {spaced[10:]}": CORRECTS},
        "Spouse ID": {id_number(902): None},
        "Account No": {"6212345678901": None},
    }  # fmt: skip
    _, said = send(desk, columns)
    assert said == list(columns.values())


def test_the_rows_own_number_in_another_column_corrects_nothing(desk: Desk) -> None:
    headers = ("ID Number", "Firstname", "Surname", "Reference")
    number = id_number(1)
    row = (number, "Nomsa", "Dube", f"REF {number}")
    done = desk.send(one_sheet([headers, row]), "list.xlsx")
    assert not done.upload["warnings"]


def test_a_field_below_the_title_of_something_else_is_not_the_memberships(desk: Desk) -> None:
    titles = ("", "", "", "Arrears", "", "Employment details", "", "Bank", "")
    headers = ("ID Number", "Firstname", "Surname", "Amount", "Months", "Date Joined", "Status",
               "Branch", "Account")  # fmt: skip
    row = (id_number(1), "Nomsa", "Dube", 360, 3, "2010-03-01", "Permanent", "12", "62")
    areas = ["D1:E1", "F1:G1", "H1:I1"]
    done = desk.send(one_sheet([titles, headers, row], areas), "list.xlsx")
    member = desk.members()[id_number(1)]
    fields = ("membership_amount", "date_joined", "status", "ward")
    assert [member[field] for field in fields] == [None] * 4
    unread = {"Arrears Amount", "Employment details Date Joined", "Employment details Status"}
    assert unread < set(done.upload["reading"]["columns_not_read"])
    # Below other titles they are the membership's.
    titles = ("", "", "", "Membership", "", "", "", "", "")
    desk.send(one_sheet([titles, headers, row], ["D1:I1"]), "list.xlsx")
    member = desk.members()[id_number(1)]
    assert [str(member[field]) for field in fields] == ["360.00", "2010-03-01", "Permanent", "None"]


@pytest.mark.parametrize("title", ["Funeral policy", "Loan", "Donations 2026", "Skenkings"])
def test_a_payment_below_the_title_of_another_is_no_fee(title: str, desk: Desk) -> None:
    titles = ("", "", "", title, "")
    headers = ("ID Number", "Firstname", "Surname", "Amount", "Date Paid")
    row = (id_number(1), "Nomsa", "Dube", 360, "2026-03-01")
    desk.send(one_sheet([titles, headers, row], ["D1:E1"]), "list.xlsx")
    member = desk.members()[id_number(1)]
    assert (member["membership_amount"], member["last_payment"]) == (None, None)
    assert member["expiry_date"] is None


@pytest.mark.parametrize("title", ["Khaya Funeral Society", "ABC Company members"])
def test_below_the_title_of_the_whole_list_they_are_the_memberships(title: str, desk: Desk) -> None:
    headers = ("ID Number", "Firstname", "Surname", "Amount", "Date Joined")
    row = (id_number(1), "Nomsa", "Dube", 360, "2026-03-01")
    desk.send(one_sheet([(title,), headers, row], ["A1:E1"]), "list.xlsx")
    member = desk.members()[id_number(1)]
    assert (str(member["membership_amount"]), str(member["date_joined"])) == (
        "360.00", "2026-03-01",
    )  # fmt: skip


def test_a_branch_beside_a_bank_is_no_ward(desk: Desk) -> None:
    start = ("ID Number", "Firstname", "Surname")
    row = (id_number(1), "Nomsa", "Dube")
    done = desk.send(one_sheet([(*start, "Bank", "Branch"), (*row, "FNB", "12")]), "list.xlsx")
    assert desk.members()[id_number(1)]["ward"] is None
    assert done.upload["reading"]["columns_not_read"] == ["Bank", "Branch"]
    desk.send(one_sheet([(*start, "Branch", "Cell"), (*row, "12", "0825550001")]), "list.xlsx")
    assert desk.members()[id_number(1)]["ward"] == "12"


def test_a_box_that_is_not_ticked_and_a_cross_are_a_no(desk: Desk) -> None:
    columns: Mapping[str, Says] = {
        "Deceased": {"\u2610": None, "\u2611": LEFT, "\u2612": LEFT, "\u2717": LEFT},
        "Active": {"\u2610": LEFT, "\u2611": None, "\u2612": None, "\u2717": LEFT, "\u00fb": LEFT},
        "Paid?": {"\u2610": NOT_PAID, "\u2713": None, "\u274c": NOT_PAID},
    }
    _, said = send(desk, columns)
    assert said == list(columns.values())
