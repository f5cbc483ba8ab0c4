"""Small checkpoints with random weights in the formats in which the real ones are published.

Each function needs the model's package, skips with the reason where it is missing, and returns what ``--weights``
takes.
"""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from atlassegfm.models.registry import model_info


def needs(name: str, *modules: str) -> None:
    """Skip unless the model's package, and these modules, can be imported."""
    info = model_info(name)
    for module in (info.package, *modules):
        pytest.importorskip(
            module, reason=f"the package of {name} is not installed: pip install 'atlassegfm[{info.extra}]'"
        )


def mend() -> None:
    """Make a torchvision of another build importable, as the adapters do."""
    from atlassegfm.models.torchvision_ops import mend_torchvision

    mend_torchvision()


def vesselfm(folder: Path) -> Path:
    """A plain state dictionary, as ``vesselFM_base.pt``."""
    needs("vesselfm")
    import torch
    from monai.networks.nets import DynUNet

    torch.manual_seed(0)
    network = DynUNet(
        spatial_dims=3, in_channels=1, out_channels=1, strides=[[1] * 3] + [[2] * 3] * 5, kernel_size=[[3] * 3] * 6,
        upsample_kernel_size=[[2] * 3] * 5, filters=[4, 8, 8, 8, 8, 8], res_block=True,
    )  # fmt: skip
    path = folder / "vesselFM_base.pt"
    torch.save(network.state_dict(), path)
    return path


def vista3d(folder: Path) -> Path:
    """A plain state dictionary, as the bundle's ``model.pt``."""
    needs("vista3d")
    pytest.importorskip("einops", reason="MONAI's VISTA3D needs einops")
    import torch
    from monai.networks.nets.vista3d import vista3d132

    torch.manual_seed(0)
    path = folder / "model.pt"
    torch.save(vista3d132(encoder_embed_dim=8).state_dict(), path)
    return path


def sam_med3d(folder: Path) -> Path:
    """``{"model_state_dict": ...}`` beside what a training leaves, as ``sam_med3d_turbo.pth``."""
    needs("sam-med3d")
    mend()
    import medim
    import torch

    torch.manual_seed(0)
    with redirect_stdout(StringIO()):
        network = medim.create_model(
            "SAM-Med3D", encoder_embed_dim=48, encoder_depth=2, encoder_num_heads=4, encoder_global_attn_indexes=[1],
            prompt_embed_dim=48,
        )  # fmt: skip
    path = folder / "sam_med3d_turbo.pth"
    torch.save({"epoch": 1, "model_state_dict": network.state_dict()}, path)
    return path


def sam(folder: Path) -> Path:
    """A folder in transformers' format: config, safetensors, processor."""
    needs("sam")
    mend()
    import torch
    from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

    torch.manual_seed(0)
    vision = {
        "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 128,
        "patch_size": 16, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 16, "mlp_dim": 64,
    }  # fmt: skip
    prompts = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 16}
    decoder = {
        "hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
        "iou_head_depth": 2,
    }  # fmt: skip
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    path = folder / "sam"
    SamModel(config).save_pretrained(path)
    SamProcessor(
        SamImageProcessorPil(
            size={"longest_edge": 128}, mask_size={"longest_edge": 32}, pad_size={"height": 128, "width": 128},
            mask_pad_size={"height": 32, "width": 32},
        )
    ).save_pretrained(path)  # fmt: skip
    return path


def sam2(folder: Path) -> Path:
    """A folder in transformers' format."""
    needs("sam2")
    mend()
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(0)
    edge = 128
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 16, "image_size": [edge, edge],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [8, 4, 8, 4],
        "global_attention_blocks": [3],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[edge // 4] * 2, [edge // 8] * 2, [edge // 16] * 2], "fpn_hidden_size": 128,
    }  # fmt: skip
    config = Sam2VideoConfig(
        image_size=edge, vision_config=vision, prompt_encoder_config={"hidden_size": 128, "image_size": edge},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 128, "num_attention_heads": 4, "iou_head_hidden_dim": 64},
        memory_attention_hidden_size=128, memory_attention_num_layers=1, memory_attention_feed_forward_hidden_size=128,
        memory_attention_rope_feat_sizes=[edge // 16, edge // 16], memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64, mask_downsampler_embed_dim=128, memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=128,
    )  # fmt: skip
    path = folder / "sam2"
    Sam2VideoModel(config).save_pretrained(path)
    return path


def medsam2(folder: Path) -> Path:
    """``{"model": ...}`` of SAM 2.1 (tiny) at its real size, as ``MedSAM2_latest.pt``: sam2 has no smaller one."""
    needs("medsam2", "omegaconf", "hydra")
    mend()
    import torch
    from sam2.build_sam import build_sam2_video_predictor

    torch.manual_seed(0)
    network = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    path = folder / "MedSAM2_latest.pt"
    torch.save({"model": network.state_dict()}, path)
    return path


def nninteractive(folder: Path, *, box3d: bool = False, refines: bool = True) -> Path:
    """A folder in the package's modern format."""
    needs("nninteractive", "nnInteractive.inference.inference_session")
    import torch
    from nnInteractive.trainer.nnInteractiveTrainer import nnInteractiveTrainer_stub
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    path = folder / "nnInteractive"
    (path / "fold_0").mkdir(parents=True)
    plans = _plans((4, 8, 16))
    dataset = {"channel_names": {"0": "image"}, "labels": {"background": 0, "object": 1}, "file_ending": ".nii.gz"}
    session = {
        "inference_class": "nnInteractiveInferenceSession", "inference_class_min_version": "2.0.0",
        "supported_interactions": {"scribble": True, "lasso": True, "points": True, "bbox2d": True, "bbox3d": box3d},
        "supports_initial_label": True, "supports_zero_shot_label_refinement": refines, "interaction_channels": 6,
        "channel_mapping": {
            "prev_seg": 0, "bbox2d": [1, 2], "bbox3d": [1, 2], "lasso": [1, 2], "points": [3, 4], "scribble": [5, 6],
        },
        "point_radius": 4, "preferred_scribble_thickness": [2, 2, 2], "interaction_decay": 0.98,
        "pad_mode_image": "constant",
    }  # fmt: skip
    for name, content in (("plans", plans), ("dataset", dataset), ("inference_info", session)):
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (path / "LICENSE").write_text("Fabricated for tests\n", encoding="utf-8")
    torch.manual_seed(0)
    manager = PlansManager(plans)
    network = nnInteractiveTrainer_stub.build_network_architecture(
        manager, manager.get_configuration("3d_fullres"), 1 + 7, 2, enable_deep_supervision=False
    )
    torch.save(
        {
            "trainer_name": "nnInteractiveTrainer_stub",
            "init_args": {"configuration": "3d_fullres"},
            "network_weights": network.state_dict(),
        },
        path / "fold_0" / "checkpoint_final.pth",
    )
    return path


def _plans(features: tuple[int, ...]) -> dict:
    stages = len(features)
    arguments = {
        "n_stages": stages, "features_per_stage": list(features), "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages, "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_blocks_per_stage": [1] * stages, "n_conv_per_stage_decoder": [1] * (stages - 1), "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    # Smaller patches than 49 do not fit the package's margin.
    return {
        "dataset_name": "Dataset999_Tiny",
        "plans_name": "nnUNetPlans",
        "configurations": {"3d_fullres": {"patch_size": [64, 64, 64], "architecture": architecture}},
    }


#: Name of a model to what fabricates its weights.
FABRICATED = {
    "medsam": sam,
    "medsam2": medsam2,
    "nninteractive": nninteractive,
    "sam": sam,
    "sam-med3d": sam_med3d,
    "sam2": sam2,
    "vesselfm": vesselfm,
    "vista3d": vista3d,
}
#: Options that keep tests quick.
QUICK = {
    "medsam2": {"size": 64, "reach_mm": 0.0},
    "nninteractive": {"samples": 1, "autozoom": False},
    "sam2": {"reach_mm": 0.0},
    "vesselfm": {"roi": 64, "reach_mm": 4.0},
    "vista3d": {"roi": 32},
}
