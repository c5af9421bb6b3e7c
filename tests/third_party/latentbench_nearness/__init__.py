"""Is a window near to the explanation? A scorer of another package."""

from latentbench.kernel.requests import Capability, Embed, Outcome, Question, Shown
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.scorer import Judgement, Metric, Scorer, Trial, failed


class Nearness(Scorer):
    """Inner product of explanation and window, both embedded as documents."""

    metric_table = (Metric("auroc", 0.5),)
    needs = (frozenset({Capability.EMBED}),)

    def trials(self, latent, explanation, seed):
        """One per test window."""
        return [
            Trial(str(w.position), Question(self.name, explanation, (Shown(w.tokens),)), (w,), (int(w.active),))
            for w in latent.test
        ]

    def requests(self, trial, can):
        """Both texts."""
        return [Embed(trial.question.explanation), Embed(trial.question.windows[0].text)]

    def read(self, trial, replies):
        """The inner product."""
        for reply in replies:
            if not reply.ok:
                return failed(trial, reply)
        (window,), value = trial.windows, float(replies[0].vector @ replies[1].vector)
        return [Judgement(trial.id, window.id, window.kind, trial.labels[0], Outcome.OK, probability=value)]

    def metrics(self, judgements):
        """AUROC."""
        found = binary_metrics([j.label for j in judgements], None, [j.probability for j in judgements])
        return {"auroc": found["auroc"]} if "auroc" in found else {}
