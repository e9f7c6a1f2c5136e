"""The search for better hyperparameters on a night's window: the nightly pipeline's data part, then a Tuner."""

from tfx.orchestration.pipeline import Pipeline

from headlines.names import CHOOSE_NIGHT, TUNER, TUNING_DAG
from retraining.pipelines.parts import assemble, create_data_nodes
from retraining.pipelines.provenance import hash_code
from retraining.settings import Settings
from tfx_components.tuner import HeadlineTuner

# The task that decides it runs before every node: retraining.operators.choosing.ChooseNight.
NIGHT = f"{{{{ ti.xcom_pull(task_ids={CHOOSE_NIGHT!r}) }}}}"


def create_tuning_pipeline(settings: Settings, night: str = NIGHT, **overrides: object) -> Pipeline:
    """Wires the tuning pipeline.

    Args:
      night: the night whose window is searched on, `YYYY-MM-DD`, or a template that Airflow renders to it.
      **overrides: arguments of `Pipeline` that win, such as `metadata_connection_config`.
    """
    data = create_data_nodes(settings, night)
    values_by_setting = settings.given_hyperparameters
    hyperparameters = {name: value for values in values_by_setting.values() for name, value in values.items()}
    tuner = HeadlineTuner(
        tuner_fn="modules.tuning.tuner_fn",
        examples=data.transform.outputs["transformed_examples"],
        transform_graph=data.transform.outputs["transform_graph"],
        source_examples=data.examples,
        custom_config={
            # What a person decided is not searched for.
            "hyperparameters": hyperparameters,
            "seed": settings.seed,
            "trials": settings.tuning_trials,
            "minutes": settings.tuning_minutes,
            "code": hash_code(),
        },
    ).with_id(TUNER)
    return assemble(TUNING_DAG, [*data, tuner], settings, overrides)
