"""What nnU-Net's search for trainers finds."""

from dimlift.integrations.nnunet.trainer import nnUNetTrainerDimlift

__all__ = ["nnUNetTrainerDimlift"]
