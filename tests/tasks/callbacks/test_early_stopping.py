"""`--early_stopping`, also in a run that is resumed."""

from pcpad.tasks.callbacks.early_stopping import StopsEarly


def test_a_resumed_run_counts_on_with_the_patience_that_it_was_given():
    before = StopsEarly("val/top1", "max", patience=2)
    before.wait_count, before.stopped_epoch = 2, 3
    after = StopsEarly("val/top1", "max", patience=6)
    after.load_state_dict(before.state_dict())
    assert (after.patience, after.wait_count) == (6, 2)
    assert after.stopped_epoch == 0  # a run that goes on has not been stopped
