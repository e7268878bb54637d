"""Downstream models (FT-DM): SUPERB's heads on a learned sum of a frozen encoder's layers."""
