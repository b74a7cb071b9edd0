"""Campaigns: random faults against random operations, replayable by a seed, with audits after each round."""

from vm_mgr_lab.campaign.command import campaign

__all__ = ["campaign"]
