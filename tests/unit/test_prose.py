from retraining.web.prose import render


def test_what_a_text_quotes_is_shown_and_never_run_followed_or_loaded() -> None:
    html = str(
        render(
            "**<script>alert(1)</script>** <b onclick=x>bold</b> [press](javascript:alert(1)) [go](http://127.0.0.1/x) "
            "![seen](http://127.0.0.1/seen.png) <http://127.0.0.1/auto>\n\n<iframe src=x></iframe>",
            below=1,
        )
    )
    assert "<strong>&lt;script&gt;alert(1)&lt;/script&gt;</strong>" in html
    for wrong in ("<script", "<iframe", "<b ", "<a", "href", "<img", 'src="', "seen.png"):
        assert wrong not in html, wrong
    assert "go seen http://127.0.0.1/auto" in html


def test_headings_stand_below_the_page_s_own_and_can_be_led_to() -> None:
    html = str(render("# One\n\n###### Deep\n\n## The checks: two", below=1, prefix="card-"))
    assert '<h2 id="card-one">One</h2>' in html
    assert '<h6 id="card-deep">' in html
    assert '<h3 id="card-the-checks-two">' in html


def test_a_table_scrolls_and_its_columns_have_headings_or_none() -> None:
    html = str(render("| | value |\n|---|---|\n| a | `x` |", below=0))
    assert '<div class="hl-scroll" tabindex="0" role="group" aria-label="Table"><table class="table hl-table">' in html
    assert '<th scope="col">value</th>' in html
    assert "<th></th>" not in html
    assert html.count("<td") == html.count("</td>") == 3
