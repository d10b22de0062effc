"""Numbers of classes that there is no room for are refused before memory is asked for."""

import resource
import subprocess
import sys

import pytest

from pcpad.class_counts import MOST_CLASSES, check_class_matrices, check_num_classes
from pcpad.errors import UserValueError

pytestmark = pytest.mark.faults

MANY = 10**9
# Each is run in a process that may take 6 GB of memory, of which importing takes some.
CASES = {
    "classifier": "from pcpad.models import classifier; classifier('resnet18', MANY)",
    "classifier of timm": "from pcpad.models import classifier; classifier('timm/test_resnet', MANY)",
    "deeplabv3plus": "from pcpad.models import deeplabv3plus; deeplabv3plus('resnet18', MANY)",
    "drn_d_105": "from pcpad.models import drn_d_105; drn_d_105(MANY)",
    "resnet3d": "from pcpad.models import resnet3d; resnet3d(18, MANY, width=4)",
    "smp_network": "from pcpad.models import smp_network; smp_network('FPN', 'resnet18', num_classes=MANY)",
    "spade_generator": "from pcpad.models import spade_generator; spade_generator(MANY, ngf=4)",
    "patch_discriminator": "from pcpad.models import patch_discriminator; patch_discriminator(MANY, ndf=4)",
    "wide_resnet38": "import torch; torch.set_default_device('meta')\n"
    "from pcpad.models import wide_resnet38; wide_resnet38(MANY)",
    "SegmentationIoU": "from pcpad.metrics import SegmentationIoU; SegmentationIoU(MANY, -1)",
    "SegmentationIoU of pairs": "from pcpad.metrics import SegmentationIoU; SegmentationIoU(100_000, -1)",
    "BorderIoU": "from pcpad.metrics import BorderIoU; BorderIoU(20_000, ['1/8', '1/4', '1/2'], -1)",
    "VideoAccuracy": "from pcpad.metrics import VideoAccuracy; VideoAccuracy(MANY)",
    "ClassificationTask": "from pcpad.tasks import ClassificationTask; ClassificationTask(num_classes=MANY)",
    "SegmentationTask": "from pcpad.tasks import SegmentationTask; SegmentationTask(num_classes=MANY)",
    "ActionRecognitionTask": "from pcpad.tasks import ActionRecognitionTask; ActionRecognitionTask(num_classes=MANY)",
    "SynthesisTask": "from pcpad.tasks import SynthesisTask; SynthesisTask(num_labels=MANY, vgg='random')",
}
LABELS = {
    "spade_generator": "semantic_channels",
    "SynthesisTask": "semantic_channels",
    "patch_discriminator": "in_channels",
}
RUN = """
import sys
from pcpad.errors import UserValueError
for name, case in eval(sys.argv[1]).items():
    try:
        exec(case, {"MANY": 10**9})
    except UserValueError as error:
        print(f"{name}: {error}")
"""


@pytest.mark.slow
def test_every_network_metric_and_task_refuses_them_before_memory_is_asked_for():
    def little_memory():
        resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))

    command = [sys.executable, "-c", RUN, repr(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=little_memory)
    assert done.returncode == 0, done.stderr
    refused = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert refused.keys() == CASES.keys()
    for name, text in refused.items():
        assert text.startswith(f"Expected argument `{LABELS.get(name, 'num_classes')}` to"), name


def test_what_there_is_is_taken():
    for count in (1, 21841, MOST_CLASSES):
        check_num_classes(count)
    check_num_classes(None, optional=True)
    check_class_matrices(21841)
    for count in (0, -1, None, MOST_CLASSES + 1):
        with pytest.raises(UserValueError, match=f"to be a positive integer.*, but got {count}"):
            check_num_classes(count)
