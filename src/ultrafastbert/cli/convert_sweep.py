"""`ultrafastbert convert --sweep`."""

from typing import Any

import typer

from ultrafastbert.cli.options import kept_rows, model_folder, option_name
from ultrafastbert.cli.progress import showing
from ultrafastbert.cli.streams import echo

FIELDS = ("block", "tokens", "max_length", "steps")
TARGETS = ("target_speedup", "target_explained")
END_TO_END = ("end_to_end_steps", "end_to_end_tokens")


def convert_sweep(context: typer.Context) -> None:
    """Run `convert` with the options of the command line that go with --sweep."""
    from ultrafastbert.distill import SweepConfig, Target, sweep
    from ultrafastbert.report import write_model_card
    from ultrafastbert.report.convert_tables import convert_layer_table
    from ultrafastbert.report.figures import draw_all
    from ultrafastbert.report.sweep_tables import gains, sweep_table, trained

    given = {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    }
    model, out, text = (given.pop(name) for name in ("model", "out", "text"))
    members, glue_dir, resume = (given.pop(name, None) for name in ("sweep", "glue_dir", "resume"))
    fields = {name: given.pop(name) for name in FIELDS if name in given}
    targets = {n.removeprefix("target_"): given.pop(n) for n in TARGETS if n in given}
    options: dict[str, Any] = {name: given.pop(name) for name in END_TO_END if name in given}
    if members is None:
        raise ValueError(f"--target-{next(iter(targets))} needs --sweep: members to choose among")
    if given:
        raise ValueError(f"{option_name(next(iter(given)))} does not go with --sweep; leave it out")
    config = SweepConfig(tuple(name.strip() for name in members.split(",")), **fields)
    if targets:
        options["target"] = Target(**targets)
    with showing(kept_rows(out / "rows.jsonl")) as show:
        rows = sweep(
            model_folder(model),
            out,
            text,
            config,
            glue_dir=glue_dir,
            resume=bool(resume),
            on_status=show,
            **options,
        )
        show("drawing figures")
        figure = draw_all(rows, out / "figures")["sweep"]
        write_model_card(out)
    echo(f"{convert_layer_table(rows)}\n\n{sweep_table(rows)}\n")
    echo("".join(f"{text}\n" for text in [*gains(rows), *trained(rows)]))
    echo(f"The figure: {figure}. The model: {out}; load it after `import ultrafastbert`.")
