"""What a page is to the code that makes it."""

from typing import Any

Page = dict[str, Any]
"""The values of a page by name; its template and its JSON twin get the same ones."""
