"""Documents of kinds that are tedious to write, made by hand: what a reader of them has to find is known."""

from __future__ import annotations

from collections.abc import Sequence


def pdf_bytes(lines: Sequence[str], title: str = "", per_page: int = 50) -> bytes:
    """A PDF with a text layer (or none, without lines), so many lines to a page."""
    pages = [lines[at : at + per_page] for at in range(0, len(lines), per_page)] or [[]]
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Title ({title}) >>",
    ]
    for number, shown in enumerate(pages):
        text = " ".join(f"({line}) Tj T*" for line in shown)
        stream = f"BT /F1 12 Tf 50 750 Td 14 TL {text} ET" if shown else ""
        place = f"/MediaBox [0 0 612 792] /Contents {6 + 2 * number} 0 R /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {place} >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return f"{out}xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1")
