"""What `models.config` may say: as TensorFlow Serving 2.16.1 reads it, or refused; and which policy is followed then.

Where TensorFlow Serving is named, its source says so: server_core.cc, server.cc, file_system_storage_path_source.cc.
"""

import os
from pathlib import Path

import pytest

from serving.policy import Policy, PolicyFile, parse_policy

DEFAULT = Policy(newest=2)


def write(policy: str = "", model: str = 'base_path: "/srv/headlines" model_platform: "tensorflow"') -> str:
    policy = policy and f"model_version_policy {{ {policy} }}"
    return f'model_config_list {{ config {{ name: "headlines" {model} {policy} }} }}'


PINNED = write("specific { versions: 1 }")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (write("latest { num_versions: 3 }"), Policy(newest=3)),
        # std::max(num_versions, 1) in AspireLatestVersions.
        (write("latest { num_versions: 0 }"), Policy(newest=1)),
        (write("latest {}"), Policy(newest=1)),
        # POLICY_CHOICE_NOT_SET falls through to the latest.
        (write(), Policy(newest=1)),
        (write("all {}"), Policy(newest=0)),
        (write("specific { versions: 4 versions: 2 }"), Policy(specific=(4, 2))),
        (write("specific { versions: 0 }"), Policy(specific=(0,))),
        # GetPlatform: the deprecated type alone is as good.
        (write(model='base_path: "/m" model_type: TENSORFLOW'), Policy()),
        # UriIsRelativePath: an address is no relative path.
        (write(model='base_path: "gs://bucket/m" model_platform: "tensorflow"'), Policy()),
        # The folder is another one's in a container: the path is TensorFlow Serving's own.
        (write(model='base_path: "/elsewhere" model_platform: "tensorflow"'), Policy()),
        ("# a comment\n" + write("all {}"), Policy(newest=0)),
    ],
)
def test_what_tensorflow_serving_takes_is_taken(text: str, expected: Policy) -> None:
    assert parse_policy(text, "headlines") == expected


def test_other_models_are_no_matter() -> None:
    text = write("specific { versions: 3 }").replace(
        "{ config", '{ config { name: "other" model_platform: "x" } config', 1
    )
    assert parse_policy(text, "headlines") == Policy(specific=(3,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # ParseProtoTextFile knows no unknown fields.
        (write("specfic { versions: 1 }"), "no field named .*specfic"),
        (write("specific { version: 1 }"), "no field named .*version"),
        (PINNED.replace("model_version_policy", "model_versions_policy"), "no field named"),
        (PINNED[:-1], "it is no model config"),
        (PINNED[: len(PINNED) // 2], "it is no model config"),
        ("", "it has no model 'headlines', but none"),
        ("# nothing", "it has no model 'headlines', but none"),
        (PINNED.replace('"headlines"', '"headline"', 1), "it has no model 'headlines', but 'headline'"),
        (PINNED + " " + PINNED, "should not have multiple"),
        # ValidateModelConfigList.
        (PINNED.replace("} }", '} config { name: "headlines" } }', 1), "no model config|more than once"),
        (
            'model_config_list { config { name: "headlines" } config { name: "headlines" } }',
            "it lists model 'headlines' more than once",
        ),
        (
            'model_config_list { config { name: "a" } config { name: "a" } config { name: "headlines" } }',
            "it lists model 'a' more than once",
        ),
        (write(model='model_platform: "tensorflow"'), "its base_path is ''; write the whole path"),
        (write(model='base_path: "headlines" model_platform: "tensorflow"'), "its base_path is 'headlines'"),
        # GetPlatform, CreateStoragePathRoutes.
        (write(model='base_path: "/srv/headlines"'), "its model_platform is ''; write 'tensorflow'"),
        (write(model='base_path: "/srv/headlines" model_platform: "tensorflw"'), "its model_platform is 'tensorflw'"),
        (write(model='base_path: "/m" model_type: OTHER'), "its model_platform is ''"),
        (write(model='base_path: "/m" model_type: TENSORFLOW model_platform: "tensorflow"'), "sets both"),
        # LoadCustomModelConfig.
        ("custom_model_config {}", "it has a custom_model_config"),
        # TensorFlow Serving unloads everything: AspireSpecificVersions.
        (write("specific {}"), "its policy is specific and names no version"),
        (write("specific { versions: -3 }"), "its policy names version -3"),
        (write("specific { versions: 9223372036854775808 }"), "out of range"),
        (write("latest { num_versions: -1 }"), "out of range"),
        (write("specific { versions: 1 } latest { num_versions: 2 }"), "another member of oneof"),
        (write("all {} } version_labels { value: 1"), "its label '' names version 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){message}"):
        parse_policy(text, "headlines")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.config"


@pytest.fixture
def file(path: Path) -> PolicyFile:
    return PolicyFile(path, "headlines", DEFAULT)


def test_without_a_file_the_default_is_followed_and_one_that_comes_is_taken_up(path: Path, file: PolicyFile) -> None:
    assert (file.look(), file.policy, file.problem, file.read_at) == (True, DEFAULT, "", None)
    assert not file.look()
    path.write_text("nothing yet")
    assert not file.look()
    assert "the policy stays" in file.problem
    path.unlink()
    assert not file.look()
    assert (file.policy, file.problem) == (DEFAULT, "")
    path.write_text(PINNED)
    assert file.look()
    assert file.policy == Policy(specific=(1,))
    assert file.read_at


def spoil(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "typo":
            path.write_text(PINNED.replace("specific", "specfic"))
        case "cut":
            path.write_text(PINNED[:50])
        case "empty":
            path.write_text("")
        case "bytes":
            path.write_bytes(b"\xff\xfe" + PINNED.encode())
        case "huge":
            path.write_text(PINNED + " " * (1 << 20))
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dead link":
            path.symlink_to("nowhere")


SPOILT = ["typo", "cut", "empty", "bytes", "huge", "folder", "pipe", "dead link"]


@pytest.mark.parametrize("how", [*SPOILT, "gone"])
def test_a_file_that_is_spoilt_or_gone_keeps_what_it_said_last(path: Path, file: PolicyFile, how: str) -> None:
    path.write_text(PINNED)
    file.look()
    read_at = file.read_at
    spoil(path, how)
    for _ in range(2):
        assert not file.look()
        assert (file.policy, file.read_at) == (Policy(specific=(1,)), read_at)
        assert str(path) in file.problem
    path.rmdir() if how == "folder" else path.unlink(missing_ok=True)
    path.write_text(write("latest { num_versions: 2 }"))
    assert file.look()
    assert (file.policy, file.problem) == (DEFAULT, "")


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_spoilt_at_the_start_means_nothing_rather_than_the_newest(
    path: Path, file: PolicyFile, how: str
) -> None:
    path.write_text("")
    spoil(path, how)
    file.look()
    assert file.policy is None
    assert str(path) in file.problem
    # As an editor that writes it anew: for a moment it is not there.
    path.rmdir() if how == "folder" else path.unlink()
    file.look()
    assert file.policy is None
    assert "start the server anew" in file.problem
    path.write_text(PINNED)
    assert file.look()
    assert (file.policy, file.problem) == (Policy(specific=(1,)), "")


def test_an_edit_of_one_length_within_a_moment_is_seen(path: Path, file: PolicyFile) -> None:
    path.write_text(PINNED)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    file.look()
    path.write_text(PINNED.replace("versions: 1", "versions: 2"))
    os.utime(path, ns=times)
    assert file.look()
    assert file.policy == Policy(specific=(2,))
