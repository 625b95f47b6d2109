"""LibreOffice saves one workbook in several formats, in one process: each start takes a second."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOFFICE: Final = shutil.which("soffice")
_PARTS: Final = {
    # Without it, LibreOffice puts its own modules in place of ours when it starts first.
    "registrymodifications.xcu": """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Setup/Office">
<prop oor:name="ooSetupInstCompleted" oor:op="fuse"><value>true</value></prop></item>
</oor:items>""",
    "basic/script.xlc": """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:libraries PUBLIC
"-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "libraries.dtd">
<library:libraries xmlns:library="http://openoffice.org/2000/library">
<library:library library:name="Standard" library:link="false"/></library:libraries>""",
    "basic/Standard/script.xlb": """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE library:library PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "library.dtd">
<library:library xmlns:library="http://openoffice.org/2000/library" library:name="Standard">
<library:element library:name="Save"/></library:library>""",
    "basic/Standard/Save.xba": """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE script:module PUBLIC "-//OpenOffice.org//DTD OfficeDocument 1.0//EN" "module.dtd">
<script:module xmlns:script="http://openoffice.org/2000/script" script:name="Save"
script:language="StarBasic">
Sub All(source As String, target As String, filters As String, opener As String)
Dim opening(2) As New com.sun.star.beans.PropertyValue
opening(0).Name = "Hidden"
opening(0).Value = True
If opener &lt;&gt; "" Then
  parts = Split(opener, "|")
  opening(1).Name = "FilterName"
  opening(1).Value = parts(0)
  opening(2).Name = "FilterOptions"
  opening(2).Value = parts(1)
End If
book = StarDesktop.loadComponentFromURL(source, "_blank", 0, opening())
Dim how(1) As New com.sun.star.beans.PropertyValue
how(0).Name = "FilterName"
how(1).Name = "FilterOptions"
For Each one In Split(filters, ";")
  parts = Split(one, "|")
  how(0).Value = parts(1)
  how(1).Value = parts(2)
  book.storeToURL(target &amp; "." &amp; parts(0), how())
Next
book.close(True)
End Sub
</script:module>""",
}


#: Comma, quotes, UTF-8.
CSV: Final = ("Text - txt - csv (StarCalc)", "44,34,76,1")


def saved(
    source: Path,
    folder: Path,
    filters: Mapping[str, tuple[str, str]],
    opener: tuple[str, str] | None = None,
) -> dict[str, Path]:
    """The workbook in other formats.

    Args:
        source: the workbook.
        folder: an empty one.
        filters: of LibreOffice, by the ending of the format: name and options.
        opener: the filter that opens it, where LibreOffice wouldn't find it by itself.

    Returns:
        The files by their endings.
    """
    assert SOFFICE is not None
    user = folder / "profile" / "user"
    for name, content in _PARTS.items():
        user.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        user.joinpath(name).write_text(content, "utf-8")
    chosen = ";".join(f"{ending}|{name}|{options}" for ending, (name, options) in filters.items())
    given = (
        source.as_uri(), (folder / source.stem).as_uri(), chosen, "|".join(opener or ()),
    )  # fmt: skip
    subprocess.run(
        [SOFFICE, f"-env:UserInstallation={user.parent.as_uri()}", "--headless",
         "macro:///Standard.Save.All({})".format(",".join(f'"{one}"' for one in given))],
        check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    return {ending: folder / f"{source.stem}.{ending}" for ending in filters}
