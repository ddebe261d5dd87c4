"""What nnU-Net's search for trainers finds."""

from dimlift.experiments.nnunet.trainer import nnUNetTrainerDimlift

__all__ = ["nnUNetTrainerDimlift"]
