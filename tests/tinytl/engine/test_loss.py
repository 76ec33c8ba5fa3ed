import math

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from tinytl.engine.loss import correct, training_loss

LOGITS = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 4, 2, 2, 1, 3, 0])
LABELS = torch.randint(0, 2, (7, 5), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_several_labels_by_hand(smoothing):
    total = 0.0
    for logits, labels in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        for logit, label in zip(logits, labels, strict=True):
            one = 1 / (1 + math.exp(-logit))
            target = (1 - smoothing) * label + smoothing * 0.5
            total -= target * math.log(one) + (1 - target) * math.log(1 - one)
    assert float(training_loss(LOGITS, LABELS, smoothing)) == pytest.approx(total / 35, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_one_class_by_hand(smoothing):
    total = 0.0
    for logits, label in zip(LOGITS.tolist(), CLASSES.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        for number, logit in enumerate(logits):
            target = (1 - smoothing) * (number == label) + smoothing / 5
            total -= target * (logit - log_sum)
    assert float(training_loss(LOGITS, CLASSES, smoothing)) == pytest.approx(total / 7, rel=1e-12)


def test_losses_are_those_of_scikit_learn():
    probabilities = LOGITS.softmax(dim=1).numpy()
    expected = log_loss(CLASSES.numpy(), probabilities, labels=range(5))
    assert float(training_loss(LOGITS, CLASSES, 0.0)) == pytest.approx(expected)
    expected = log_loss(LABELS.flatten().numpy(), LOGITS.sigmoid().flatten().numpy())
    assert float(training_loss(LOGITS, LABELS, 0.0)) == pytest.approx(expected)


def test_accuracies_are_those_of_scikit_learn():
    predicted = LOGITS.argmax(dim=1)
    assert correct(LOGITS, CLASSES) == accuracy_score(CLASSES, predicted, normalize=False)
    shares = [
        accuracy_score(LABELS[:, k], LOGITS[:, k].sigmoid() > 0.5) for k in range(LABELS.shape[1])
    ]
    assert correct(LOGITS, LABELS) / 7 == pytest.approx(sum(shares) / 5)


@pytest.mark.parametrize("labels", [CLASSES, LABELS])
def test_gradients(labels):
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: training_loss(x, labels, 0.3), logits)
