"""Networks, one family per file, and the loading of weights into them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.models.classifiers import classifier as classifier
    from pcpad.models.deeplab import deeplabv3plus as deeplabv3plus
    from pcpad.models.drn import drn_d_105 as drn_d_105
    from pcpad.models.filtering_unet import filtering_unet as filtering_unet
    from pcpad.models.inpainting_unet import inpainting_unet as inpainting_unet
    from pcpad.models.inpainting_weights import load_inpainter as load_inpainter
    from pcpad.models.patch_discriminator import patch_discriminator as patch_discriminator
    from pcpad.models.pooling import exportable_pooling as exportable_pooling
    from pcpad.models.pretrained import from_pretrained as from_pretrained
    from pcpad.models.pretrained import push_to_hub as push_to_hub
    from pcpad.models.pretrained import read_pretrained as read_pretrained
    from pcpad.models.pretrained import save_pretrained as save_pretrained
    from pcpad.models.resnet3d import resnet3d as resnet3d
    from pcpad.models.resnet3d import resnet3d18 as resnet3d18
    from pcpad.models.resnet3d import resnet3d34 as resnet3d34
    from pcpad.models.resnet3d import resnet3d50 as resnet3d50
    from pcpad.models.resnet3d import resnet3d101 as resnet3d101
    from pcpad.models.restoration import restoration_network as restoration_network
    from pcpad.models.smp import smp_network as smp_network
    from pcpad.models.spade import spade_generator as spade_generator
    from pcpad.models.weights import load_weights as load_weights
    from pcpad.models.wide_resnet import wide_resnet38 as wide_resnet38

    __all__: list[str]
else:
    from pcpad._lazy import attach as _attach

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "classifier": "pcpad.models.classifiers",
            "deeplabv3plus": "pcpad.models.deeplab",
            "drn_d_105": "pcpad.models.drn",
            "exportable_pooling": "pcpad.models.pooling",
            "filtering_unet": "pcpad.models.filtering_unet",
            "from_pretrained": "pcpad.models.pretrained",
            "inpainting_unet": "pcpad.models.inpainting_unet",
            "load_inpainter": "pcpad.models.inpainting_weights",
            "load_weights": "pcpad.models.weights",
            "patch_discriminator": "pcpad.models.patch_discriminator",
            "push_to_hub": "pcpad.models.pretrained",
            "read_pretrained": "pcpad.models.pretrained",
            "resnet3d": "pcpad.models.resnet3d",
            "resnet3d18": "pcpad.models.resnet3d",
            "resnet3d34": "pcpad.models.resnet3d",
            "resnet3d50": "pcpad.models.resnet3d",
            "resnet3d101": "pcpad.models.resnet3d",
            "restoration_network": "pcpad.models.restoration",
            "save_pretrained": "pcpad.models.pretrained",
            "smp_network": "pcpad.models.smp",
            "spade_generator": "pcpad.models.spade",
            "wide_resnet38": "pcpad.models.wide_resnet",
        },
        modules=(
            *("averaging", "checkpointing", "dilated_resnet", "encoders", "hdf5_weights", "heads", "hub_cache"),
            *("input_channels", "origins", "padded_weights", "published_inpainting", "published_layers"),
            *("restoration_file", "restoration_guess", "street_detector", "torchvision_segmentation"),
            *("weight_files", "wide_resnet_encoder"),
        ),
    )
