"""The trainer under the file name that nnU-Net searches for."""

from dimlift.integrations.nnunet.trainer import nnUNetTrainerDimlift

__all__ = ["nnUNetTrainerDimlift"]
