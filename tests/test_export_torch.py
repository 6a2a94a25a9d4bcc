"""torch.compile, torch.export and AOTInductor of whole models."""

import shutil
import subprocess
import sys

import pytest
import torch
from tiny_export import tiny

from ultrafastbert import UltraFastBertForMaskedLM, UltraFastBertForSequenceClassification
from ultrafastbert.export import export_torch
from ultrafastbert.export.agreement import prove_equal
from ultrafastbert.export.program import NamedOutputs, example_inputs, program_arguments
