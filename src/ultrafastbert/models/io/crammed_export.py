"""Models in the format of the published UltraFastBERT and crammedBERT, for their software."""

from pathlib import Path

from ultrafastbert import models
from ultrafastbert.data.tokenizer import copy_tokenizer
from ultrafastbert.models.io import crammed_folder
from ultrafastbert.models.io.crammed_config import check_expressible
from ultrafastbert.runs import run_folder


def export_crammed(folder: str | Path, out_dir: str | Path) -> None:
    """Write a model of ours in the published format, for the software that made it.

    Raises OSError for missing files, FileExistsError if `out_dir` is not empty, ValueError for a
    model that the format cannot hold.
    """
    fields = models.UltraFastBertConfig.from_pretrained(folder).to_dict()
    check_expressible(fields)
    with run_folder.new_folder(Path(out_dir)) as out:
        model = getattr(models, fields["architectures"][0]).from_pretrained(folder)
        crammed_folder.write(out, fields, model.state_dict())
        copy_tokenizer(Path(folder), out)
