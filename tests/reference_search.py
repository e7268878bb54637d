"""Searches written out utterance by utterance: the reference of those that take a whole batch."""

import torch

from speechprompt.lm.dictionary import END


def greedy(task, hidden, cache, steps):
    """The best allowed label at every position, until the end where answers may end."""
    limit = torch.tensor(steps, device=hidden.device)
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(hidden.device)
    line = torch.arange(n, device=hidden.device)  # utterances that go on
    answers: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64, device=hidden.device)
    for step in range(max(steps)):
        best = task.answer_scores(hidden, torch.full_like(line, step)).max(1)
        scores[line] += best.values
        for i, label in zip(line.tolist(), best.indices.tolist(), strict=True):
            if label != end:
                answers[i].append(label)
        going = ((best.indices != end) & (limit[line] > step + 1)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        hidden = task.model.step(ids[best.indices[going]], cache)
    return answers, scores.tolist()


def free(task, hidden, cache, steps, prompt):
    """Greedy over the whole vocabulary until ``</s>`` or as many symbols as an answer has."""
    limit = torch.tensor(steps, device=hidden.device)
    label_of = {int(id_): label for label, id_ in enumerate(task.label_ids)}
    n = len(hidden)
    line = torch.arange(n, device=hidden.device)
    answers: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64, device=hidden.device)
    for step in range(max(steps)):
        best = task.model.logits(hidden).log_softmax(1).max(1)
        scores[line] += best.values
        for i, id_ in zip(line.tolist(), best.indices.tolist(), strict=True):
            if id_ != END:
                answers[i].append(label_of.get(id_, -1))
        going = ((best.indices != END) & (limit[line] > step + 1)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(line):
            line, cache = line[going], cache.select(going)
        # The separator is a symbol like any other here, and stays the trained one.
        hidden = task.model.step(best.indices[going], cache, prompt)
    return answers, scores.tolist()


def beam_search(task, hidden, cache, steps, beam, length_penalty):
    """Beam search; hypotheses of one utterance share its finished list."""
    device = hidden.device
    n, end = len(hidden), len(task.label_ids)
    ids = torch.from_numpy(task.label_ids).to(device)
    fixed = task.allowed is not None
    # Hypotheses are sorted out on the processor: a GPU would be waited for at each of them.
    utterance = torch.arange(n)  # of every live hypothesis, sorted
    prefixes: list[list[int]] = [[] for _ in range(n)]
    scores = torch.zeros(n, dtype=torch.float64)
    finished: list[list[tuple[float, float, list[int]]]] = [[] for _ in range(n)]
    for step in range(max(steps)):
        position = torch.full((len(hidden),), step, device=device)
        table = scores[:, None] + task.answer_scores(hidden, position).cpu()
        parents, chosen, kept = [], [], []
        for i in utterance.unique().tolist():
            rows = (utterance == i).nonzero()[:, 0]
            candidates = table[rows].flatten()
            order = candidates.argsort(descending=True, stable=True)[: 2 * beam].tolist()
            # As many finished candidates among the best as the beam is wide: nothing follows.
            live = 0
            for rank, flat in enumerate(order):
                score, parent = float(candidates[flat]), int(rows[flat // (end + 1)])
                if score == float("-inf"):
                    break
                label = flat % (end + 1)
                answer = prefixes[parent] + ([] if label == end else [label])
                if label == end or step + 1 == steps[i]:
                    if rank < beam:
                        share = 1 if fixed else (step + 1) ** length_penalty
                        finished[i].append((score / share, score, answer))
                elif live < beam:
                    live += 1
                    parents.append(parent)
                    chosen.append(label)
                    kept.append((i, score, answer))
        done = {i for i in range(n) if len(finished[i]) >= beam}
        rows = [r for r, (i, _, _) in enumerate(kept) if i not in done]
        if not rows:
            break
        index = torch.tensor([parents[r] for r in rows], device=device)
        before, utterance = utterance, torch.tensor([kept[r][0] for r in rows])
        same = torch.equal(before, utterance)
        cache = cache.exchange(index) if same else cache.select(index)
        scores = torch.tensor([kept[r][1] for r in rows], dtype=torch.float64)
        prefixes = [kept[r][2] for r in rows]
        hidden = task.model.step(ids[[chosen[r] for r in rows]], cache)
    best = [max(of_one, key=lambda found: found[0]) for of_one in finished]
    return [answer for _, _, answer in best], [score for _, score, _ in best]
