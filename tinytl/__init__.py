"""Memory-efficient transfer learning: backbones, methods, an exact meter and a training run.

The parts that most scripts need:

- `tinytl.config.FinetuneConfig` and `tinytl.finetune.finetune`: one run, start to end.
- `tinytl.engine.build.build_network`: backbone, weights, modules and method of a configuration.
- `tinytl.engine.convert.convert`: makes the layers of any network keep only what gradients need.
- `tinytl.export`: what a run trained as a folder, and `load` for its network.
- `tinytl.memory`: modeled, saved and peak bytes of a training step.
"""

import os

# The profiler behind the meter would log to stderr at every step it measures.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
