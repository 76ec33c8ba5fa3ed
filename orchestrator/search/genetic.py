"""Optuna's genetic samplers, whose time does not grow with the trials.

For each suggestion Optuna walks several times over all trials to find those of a generation. Here
they are kept by generation as they are told; what is suggested is the same.
"""

from collections import defaultdict
from collections.abc import Sequence

from optuna import Study, samplers
from optuna.samplers import BaseGASampler
from optuna.trial import FrozenTrial, TrialState


class _ByGeneration(BaseGASampler):
    _ids: defaultdict[int, list[int]] | None = None  # of complete trials; read when first needed

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        known = trial.system_attrs.get(self._get_generation_key())
        if known is not None:
            return int(known)
        complete = self._complete(study)
        newest = max(complete, default=0)
        generation = newest + (len(complete[newest]) >= (self.population_size or 0))
        key = self._get_generation_key()
        study._storage.set_trial_system_attr(trial._trial_id, key, generation)
        return generation

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return self._trials(study, self._complete(study)[generation])

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        chosen = study._storage.get_study_system_attrs(study._study_id).get(
            f"{self._get_parent_cache_key_prefix()}{generation}"
        )
        if chosen is None:  # the first time: it chooses them
            return super().get_parent_population(study, generation)
        return self._trials(study, chosen)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        super().after_trial(study, trial, state, values)
        generation = trial.system_attrs.get(self._get_generation_key())
        if self._ids is not None and state == TrialState.COMPLETE and generation is not None:
            self._ids[generation].append(trial._trial_id)

    def _complete(self, study: Study) -> defaultdict[int, list[int]]:
        if self._ids is None:
            self._ids = defaultdict(list)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                generation = trial.system_attrs.get(self._get_generation_key())
                if generation is not None:
                    self._ids[generation].append(trial._trial_id)
        return self._ids

    def _trials(self, study: Study, ids: Sequence[int]) -> list[FrozenTrial]:
        return [study._storage.get_trial(trial_id) for trial_id in sorted(ids)]


class NSGAIISampler(_ByGeneration, samplers.NSGAIISampler):
    """NSGA-II."""


class NSGAIIISampler(_ByGeneration, samplers.NSGAIIISampler):
    """NSGA-III."""
