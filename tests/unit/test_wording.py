from retraining.notices.wording import Part, as_html, as_markdown, as_text, shorten

PARTS = (
    Part(
        "What serves", ("Version 2022020201 serves.", "<b>Eleição & *ação*</b>\n# cara"), "http://h/headlines/?a=1&b=2"
    ),
    Part("", ("1. one",)),
)


def test_plain_text_is_what_was_said() -> None:
    assert as_text(PARTS) == (
        "WHAT SERVES\nVersion 2022020201 serves.\n<b>Eleição & *ação*</b>\n# cara\n"
        "http://h/headlines/?a=1&b=2\n\n1. one"
    )


def test_html_shows_what_data_hold_and_runs_none_of_it() -> None:
    assert as_html(PARTS) == (
        "<h3>What serves</h3>\n<p>Version 2022020201 serves.</p>\n"
        "<p>&lt;b&gt;Eleição &amp; *ação*&lt;/b&gt;<br># cara</p>\n"
        '<p><a href="http://h/headlines/?a=1&amp;b=2">http://h/headlines/?a=1&amp;b=2</a></p>\n<p>1. one</p>'
    )


def test_markdown_marks_up_nothing_that_data_hold() -> None:
    assert as_markdown(PARTS) == (
        "**What serves**\n\nVersion 2022020201 serves.\n\n"
        "\\<b\\>Eleição & \\*ação\\*\\</b\\>  \n\\# cara\n\n<http://h/headlines/?a=1&b=2>\n\n\\1. one"
    )


def test_a_long_text_is_cut_and_says_so_and_none_steers_a_terminal() -> None:
    assert shorten("a" * 2000) == "a" * 2000
    assert shorten("é" * 5000) == f"{'é' * 2000} ... (cut: it has 5000 characters)"
    assert "\x1b" not in shorten("red \x1b[31m")
