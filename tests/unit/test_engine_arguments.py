"""The settings of an engine, as arguments of Beam; what contradicts itself is refused by name."""

import importlib.metadata
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
)

from retraining.engines import EngineError
from retraining.engines.arguments import find_job_server, list_arguments
from retraining.settings import Settings, SettingsError


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    path = tmp_path / "job-server.jar"
    path.touch()
    return path


def test_one_box_has_the_arguments_that_it_always_had() -> None:
    assert list_arguments(Settings.from_env()) == [
        "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        "--sdk_container_image=unused",
        "--direct_num_workers=1",
    ]


def test_arguments_of_a_person_are_passed_on_as_they_are() -> None:
    assert list_arguments(Settings.from_env(beam="args", beam_runner_args="--runner=PortableRunner --own=1")) == [
        "--runner=PortableRunner",
        "--own=1",
    ]


def test_beam_reads_what_flink_is_told(jar: Path) -> None:
    settings = Settings.from_env(
        beam="flink", flink_master="flink:8081", beam_worker_pool="localhost:50001", beam_parallelism=3
    )
    options = PipelineOptions(list_arguments(settings.model_copy(update={"beam_job_server": jar})))
    flink = options.view_as(FlinkRunnerOptions)
    assert (flink.flink_master, flink.flink_version, flink.flink_job_server_jar) == ("flink:8081", "1.20", str(jar))
    portable = options.view_as(PortableOptions)
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50001")
    assert options.get_all_options()["runner"] == "FlinkRunner"
    assert "--parallelism=3" in list_arguments(settings.model_copy(update={"beam_job_server": jar}))


def test_beam_reads_what_spark_is_told(jar: Path) -> None:
    settings = Settings.from_env(
        beam="spark", spark_master="spark://one:7077,two:7077", beam_parallelism=2, beam_job_server=jar
    )
    options = PipelineOptions(list_arguments(settings))
    spark = options.view_as(SparkRunnerOptions)
    assert (spark.spark_master_url, spark.spark_job_server_jar) == ("spark://one:7077,two:7077", str(jar))
    properties = options.view_as(JobServerOptions).job_server_jvm_properties
    assert "-Dspark.default.parallelism=2" in properties
    assert "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED" in properties
    assert "-Dspark.serializer=org.apache.spark.serializer.KryoSerializer" in properties
    assert "-Dspark.executor.memory=2g" in properties


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"BEAM_RUNNER_ARGS": "--a=1"}, "BEAM=local does not use it; set BEAM=args, or unset it"),
        ({"BEAM": "args"}, "BEAM_RUNNER_ARGS=(): BEAM=args needs it"),
        ({"BEAM": "flink"}, "FLINK_MASTER=None: BEAM=flink needs it"),
        ({"BEAM": "flink", "FLINK_MASTER": "http://flink:8081"}, "write host:port, without http://"),
        ({"BEAM": "spark", "FLINK_MASTER": "flink:8081"}, "BEAM=spark does not use it; set BEAM=flink, or unset it"),
        ({"FLINK_VERSION": "1.18"}, "BEAM=local does not use it; set BEAM=flink, or unset it"),
        ({"BEAM_PARALLELISM": "7"}, "BEAM=local does not use it; set BEAM=flink or spark, or unset it"),
        ({"BEAM_JOB_SERVER": "/nowhere.jar"}, "BEAM=local does not use it; set BEAM=flink or spark, or unset it"),
        (
            {"BEAM": "args", "BEAM_RUNNER_ARGS": "--runner=DirectRunner", "BEAM_PARALLELISM": "7"},
            "BEAM=args does not use it; set BEAM=flink or spark, or unset it",
        ),
        (
            {"BEAM": "spark", "SPARK_MASTER": "spark://s:7077", "FLINK_VERSION": "1.18"},
            "BEAM=spark does not use it; set BEAM=flink, or unset it",
        ),
        ({"BEAM": "spark", "SPARK_MASTER": "local-cluster[2,1,1024]"}, "write spark://host:port"),
        ({"BEAM": "flink", "FLINK_MASTER": "flink:8081", "FLINK_VERSION": "2.0"}, "FLINK_VERSION='2.0'"),
        ({"BEAM": "dask"}, "BEAM='dask'"),
        ({"BEAM_WORKER_POOL": "50000"}, "BEAM_WORKER_POOL='50000': write host:port"),
    ],
)
def test_settings_of_another_engine_than_beam_says_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], sentence: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert sentence in str(refused.value)


def test_what_a_worker_pool_is_told_and_what_says_the_default_contradict_no_engine() -> None:
    Settings.from_env(beam_worker_pool="localhost:50001", beam_pool_host="10.0.0.1")
    Settings.from_env(flink_version="1.20", beam_parallelism=1, beam_job_server=None)


@pytest.mark.parametrize(
    ("given", "artifact"),
    [
        ({"beam": "flink", "flink_master": "f:8081", "flink_version": "1.19"}, "beam-runners-flink-1.19-job-server"),
        ({"beam": "spark", "spark_master": "spark://spark:7077"}, "beam-runners-spark-3-job-server"),
    ],
)
def test_the_job_server_is_where_maven_keeps_it_or_its_command_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], artifact: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.from_env(**given)
    version = importlib.metadata.version("apache-beam")
    with pytest.raises(
        EngineError, match=rf"`mvn dependency:get .*-Dartifact=org.apache.beam:{artifact}:{version}`.*BEAM_JOB_SERVER"
    ):
        find_job_server(settings)
    jar = tmp_path / ".m2/repository/org/apache/beam" / artifact / version / f"{artifact}-{version}.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    assert find_job_server(settings) == jar


def test_a_job_server_that_is_named_and_not_there_is_told_by_its_setting(tmp_path: Path) -> None:
    settings = Settings.from_env(beam="flink", flink_master="flink:8081", beam_job_server=tmp_path / "none.jar")
    with pytest.raises(EngineError, match=r"BEAM_JOB_SERVER=.*none.jar: there is no such file"):
        list_arguments(settings)
