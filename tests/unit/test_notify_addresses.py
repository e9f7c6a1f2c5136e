import pytest

from retraining.notify_addresses import parse_addresses


def test_each_address_has_a_place_a_service_and_what_it_is_told_of() -> None:
    addresses = parse_addresses(
        "slack://a/b/c\n failure|pagerduty://key@x  digest|mailto://u:p@example.org?to=a@b.org HTTPS://h.example.org/a|b"
    )
    assert [(one.position, one.scheme, one.least) for one in addresses] == [
        (1, "slack", "info"),
        (2, "pagerduty", "failure"),
        (3, "mailto", "digest"),
        (4, "https", "info"),
    ]
    assert [one.is_plain for one in addresses] == [False, False, False, True]
    assert addresses[3].url == "HTTPS://h.example.org/a|b", "a bar in an address is its own"
    assert parse_addresses("  ") == ()


@pytest.mark.parametrize(
    ("least", "taken"),
    [
        ("", ["info", "warning", "failure", "digest"]),
        ("info|", ["info", "warning", "failure", "digest"]),
        ("warning|", ["warning", "failure"]),
        ("failure|", ["failure"]),
        ("digest|", ["digest"]),
    ],
)
def test_an_address_is_told_of_what_is_as_grave_as_it_wants(least: str, taken: list[str]) -> None:
    [address] = parse_addresses(f"{least}slack://a/b/c")
    kinds = {"info": ("info", False), "warning": ("warning", False), "failure": ("failure", False)}
    asked = {**kinds, "digest": ("info", True)}
    assert [name for name, (severity, is_digest) in asked.items() if address.takes(severity, is_digest)] == taken


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("slack://a hooks.example.org/T0KEN", r"^address 2 is none; write each as slack://"),
        ("slack://", "^address 1 is none"),
        (
            "https://h.example.org severe|slack://T0KEN",
            r"^address 2 begins with a word that is no severity; .*failure\|",
        ),
    ],
)
def test_a_wrong_address_is_named_by_its_place_and_not_shown(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_addresses(text)
    assert "T0KEN" not in str(refused.value)


def test_what_is_secret_in_an_address_is_in_no_text_about_it() -> None:
    [address] = parse_addresses("json://user:s3cret-pw@hooks.example.org:8443/T0KEN/path?key=k3y-value")
    assert str(address) == "address 1 of NOTIFY (json://)"
    text = address.hide(f"could not ask {address.url}: user, s3cret-pw, T0KEN, k3y-value")
    for secret in ("s3cret", "T0KEN", "k3y", "user,"):
        assert secret not in text
        assert secret not in repr(address)
    [other] = parse_addresses("json://user:other@hooks.example.org:8443/T0KEN/path?key=k3y-value")
    assert address.mark != other.mark
    assert len(address.mark) == 16
