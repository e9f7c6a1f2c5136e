"""Text of a drop as people may be shown it: in a table, on a page, in a spreadsheet."""


def show_bytes(text: str) -> str:
    """Text in which bytes that are not UTF-8 stand as surrogates, with those as `\\xe7`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def neutralise(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")) else cell
