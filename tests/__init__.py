"""Tests, by what they may touch: unit, integration, contract, acceptance, robustness, bench."""
