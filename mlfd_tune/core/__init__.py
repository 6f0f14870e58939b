"""The method in plain PyTorch: data, models, losses, training, stages and the artifact store.

Nothing in here imports ray, mlflow or optuna, so all of it runs in a notebook or on a bare GPU
machine. Import from the subpackages; this file only names the room.
"""
