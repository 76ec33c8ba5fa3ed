"""Who suggests trials: one study per dataset behind ask and tell.

The only room that imports optuna.
"""

from orchestrator.search.memory_aware import KnownMemory
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.study import Study

__all__ = ["SAMPLERS", "KnownMemory", "Study"]
