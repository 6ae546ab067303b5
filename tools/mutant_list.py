"""The planted bugs: name → what is wrong then, and the test that must notice it.

A bug of the engine stands in the Rust source as `mutant!("name")` and is switched on by a variable
in a build with the feature `mutants`. A bug of the Python part is a change of the text of one file,
made in a copy; nothing of it is in the source.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class RustBug(NamedTuple):
    """A bug of the engine."""

    bug: str
    target: str
    """The test program: `lib`, or the name of a file in the crate's `tests`."""
    test: str
    """The path of the test in it."""


class PythonBug(NamedTuple):
    """A bug of the Python part."""

    bug: str
    file: str
    """Under `src/pyromq`."""
    right: str
    """The text as it is; it stands in the file once."""
    wrong: str
    test: str
    """The id pytest knows the test by."""


_CUTS: Final = "sim::every_cut_of_the_power_or_the_process_keeps_the_promise"
_REBUILD: Final = "sim::directed::a_rebuild_that_was_cut_off_is_not_believed"
_FULL: Final = "a_full_disk_takes_the_turn_back_and_the_next_one_gets_its_offsets"

RUST_BUGS: Final[dict[str, RustBug]] = {
    "acknowledge_before_sync": RustBug(
        "messages count as flushed before the sync ended",
        "faults",
        "a_failed_sync_is_never_tried_again",
    ),
    "bad_record_handed_out": RustBug(
        "a read does not look at checksum and place of what it read",
        "damage",
        "a_clean_start_does_not_look_but_reads_do",
    ),
    "clean_too_early": RustBug(
        "the marker says `closed` while the store is open",
        "lib",
        "engine::tests::without_abort_a_store_that_was_not_closed_is_looked_through",
    ),
    "commit_at_hand_over": RustBug(
        "a turn is committed once the writer's thread has it",
        "lib",
        "writer::tests::"
        "while_a_write_hangs_appends_and_reads_go_on_and_what_came_meanwhile_is_one_write",
    ),
    "commit_before_flushed": RustBug(
        "SYNC_FLUSH commits at the write",
        "faults",
        "what_waits_for_its_sync_is_not_shown",
    ),
    "commit_before_write": RustBug("a turn is committed before it is written", "faults", _FULL),
    "crc_not_compared": RustBug(
        "a pull does not compare the checksum of the whole record",
        "crc",
        "a_flipped_bit_anywhere_in_a_record_is_noticed_and_counted",
    ),
    "crcs_in_memory_not_asked": RustBug(
        "a reader does not know checksums that are in no file yet",
        "crc",
        "a_flipped_bit_is_noticed_before_the_checksum_is_in_its_file",
    ),
    "crcs_left_in_memory": RustBug(
        "the marker calls records safe whose checksums are not written",
        "lib",
        "sim::checksums::a_sync_vouches_for_no_record_whose_checksum_is_not_safe",
    ),
    "crcs_not_waited_for": RustBug(
        "the marker calls records safe whose checksums somebody is still writing",
        "lib",
        "sim::checksums::a_sync_waits_for_checksums_that_are_being_written",
    ),
    "crcs_not_synced": RustBug(
        "the marker calls records safe whose checksums are not synced",
        "lib",
        "sim::checksums::a_sync_vouches_for_no_record_whose_checksum_is_not_safe",
    ),
    "cold_checksum_not_awaited": RustBug(
        "a pull in a hurry hands out records whose checksums are not in memory",
        "hurry",
        "a_record_is_not_handed_out_while_its_checksum_is_on_its_way",
    ),
    "cut_on_crc": RustBug(
        "a start cuts the log at the first bad record, as Apache's does",
        "damage",
        "below_what_was_synced_appends_go_on_in_the_same_segment",
    ),
    "digest_chain_unchecked": RustBug(
        "a check does not follow the chain from digest to digest",
        "crc",
        "a_check_reads_the_chain_of_digests_and_tells_a_bad_record_from_a_bad_checksum",
    ),
    "drop_not_noted": RustBug(
        "a dropped topic is not noted before its files go",
        "lib",
        "sim::dropped::a_dropped_topic_does_not_come_back",
    ),
    "cleared_not_synced": RustBug(
        "the place of a refused record is used again before it is safely empty",
        "lib",
        "sim::directed::no_record_is_made_of_a_refused_one_and_the_one_in_its_place",
    ),
    "drop_not_in_rebuild_note": RustBug(
        "a topic dropped during a rebuild gets its old places back",
        "lib",
        "sim::dropped::places_of_a_topic_dropped_during_a_rebuild_do_not_come_back",
    ),
    "end_moves_back": RustBug(
        "messages are appended below the old end after its records were lost",
        "damage",
        "what_a_sync_vouched_for_is_never_cut_and_its_places_are_not_given_again",
    ),
    "failed_write_forgotten": RustBug(
        "the store takes messages after EIO in a write",
        "faults",
        "a_dying_disk_makes_the_store_read_only",
    ),
    "forget_failed_sync": RustBug(
        "a failed sync is not noted for the next process",
        "lib",
        "sim::directed::what_a_start_shows_after_a_failed_sync_outlives_a_power_cut",
    ),
    "hole_segment_used_on": RustBug(
        "appends go on in a segment with an unsynced hole",
        "damage",
        "a_bad_record_with_valid_ones_behind_it_is_passed_over_and_nothing_is_cut",
    ),
    "inherited_not_synced": RustBug(
        "queue files of a killed process are called safe without a sync",
        "lib",
        "engine::tests::files_a_killed_process_left_are_synced_before_they_are_called_safe",
    ),
    "leftovers_stay": RustBug(
        "bytes of a refused turn stay behind the log's end",
        "faults",
        "a_refused_message_that_is_on_disk_whole_does_not_come_back",
    ),
    "lost_places_of_a_dropped_topic": RustBug(
        "what a dropped topic's file leaves without messages is believed",
        "lib",
        "sim::dropped::a_place_without_a_message_does_not_come_back_with_a_dropped_topic",
    ),
    "lost_pages_believed": RustBug(
        "the process after a failed sync believes pages the device never took",
        "lib",
        "sim::directed::what_a_start_shows_after_a_failed_sync_outlives_a_power_cut",
    ),
    "marker_before_queues": RustBug(
        "the marker vouches for queues that are not synced",
        "lib",
        _CUTS,
    ),
    "marker_unchecked": RustBug(
        "a torn marker is believed",
        "lib",
        "marker::tests::a_torn_marker_leaves_the_one_before",
    ),
    "offsets_not_taken_back": RustBug(
        "a refused message keeps its queue offset",
        "faults",
        _FULL,
    ),
    "oldest_queue_file_goes_first": RustBug(
        "files of a doubtful queue are removed oldest first",
        "faults",
        "a_queue_half_removed_does_not_seem_to_have_expired_messages",
    ),
    "rebuild_not_noted": RustBug(
        "a rebuild is not noted before it touches files",
        "lib",
        _REBUILD,
    ),
    "rebuild_note_goes_early": RustBug(
        "the note of a rebuild is removed before its files are written",
        "lib",
        _REBUILD,
    ),
    "rebuild_skips_a_record": RustBug(
        "a rebuild of the queues leaves a record out",
        "recovery",
        "missing_queues_are_rebuilt_from_the_log",
    ),
    "removed_index_stays_open": RustBug(
        "a new index file is written into the removed one of its name",
        "lib",
        "sim::directed::a_torn_index_is_not_believed_and_the_new_one_stays",
    ),
    "rename_before_sync": RustBug(
        "a file is renamed into its place before it is synced",
        "lib",
        "sim::dropped::a_dropped_topic_does_not_come_back",
    ),
    "retry_failed_sync": RustBug(
        "a sync that failed is tried again and believed",
        "faults",
        "a_failed_sync_is_never_tried_again",
    ),
    "reuse_offset": RustBug(
        "queue offsets of lost messages are given again",
        "damage",
        "what_a_sync_vouched_for_is_never_cut_and_its_places_are_not_given_again",
    ),
    "segment_asked_again": RustBug(
        "a segment the device failed at is made once more",
        "faults",
        "a_segment_the_device_failed_at_is_not_tried_again_and_nothing_more_is_taken",
    ),
    "shown_before_rebuilt": RustBug(
        "a queue is shown before its rebuild has ended",
        "rebuild",
        "other_queues_serve_while_one_is_rebuilt",
    ),
    "skip_log_sync": RustBug(
        "the log is never synced",
        "lib",
        "sim::directed::a_power_cut_takes_nothing_that_was_acknowledged",
    ),
    "skip_segment_dir_sync": RustBug("a new segment's directory entry is not synced", "lib", _CUTS),
    "stale_crcs_stay": RustBug(
        "a start leaves checksums of records behind the log's end",
        "crc",
        "checksums_do_not_outlive_records_that_were_cut_off",
    ),
    "start_marker_not_durable": RustBug(
        "the marker of a start is not synced",
        "lib",
        "sim::directed::a_torn_index_is_not_believed_and_the_new_one_stays",
    ),
    "start_syncs_nothing": RustBug(
        "what a killed process wrote counts as flushed without a sync",
        "faults",
        "a_start_syncs_what_a_killed_process_left_before_it_counts_as_flushed",
    ),
    "store_time_goes_back": RustBug(
        "the store time follows a clock that is set back",
        "recovery",
        "the_store_time_never_goes_back_over_a_restart",
    ),
    "torn_tail_stays": RustBug(
        "the torn end of the log is not cleared",
        "recovery",
        "an_incomplete_last_record_is_cut_whatever_is_left_of_it",
    ),
    "writers_failure_untold": RustBug(
        "a write that failed on the writer's thread is not told",
        "lib",
        "writer::tests::a_disk_found_full_by_the_writer_takes_back_all_that_is_not_written",
    ),
}

_JOURNAL_TESTS: Final = "tests/unit/store/test_journal.py::"
_RECOVERY_TESTS: Final = "tests/unit/store/test_recovery.py::"

PYTHON_BUGS: Final[dict[str, PythonBug]] = {
    "answer_before_commit": PythonBug(
        "a reply does not wait for the commit of what it promises",
        "broker/commits.py",
        "        if position <= self._commit:\n            latch.set(None)",
        "        if position >= 0:\n            latch.set(None)",
        "tests/unit/broker/test_send_durability.py::"
        "test_with_sync_flush_the_answer_waits_for_the_sync",
    ),
    "delays_noted_at_write": PythonBug(
        "a delayed message counts as delivered before its copy is flushed",
        "broker/delays.py",
        "self._deliveries.safe(self._engine.positions().flushed)",
        "self._deliveries.safe(self._engine.positions().written)",
        "tests/unit/broker/test_delays.py::"
        "test_the_journal_follows_the_flush_of_the_copies_not_their_write",
    ),
    "journal_commits_at_write": PythonBug(
        "with SYNC_FLUSH a metadata change is answered before its sync",
        "store/journal.py",
        "commit = self._durable if self._sync_flush else self._written",
        "commit = self._written",
        _JOURNAL_TESTS + "test_a_change_is_appended_then_written_then_durable",
    ),
    "journal_cut_below_durable": PythonBug(
        "a bad entry that was synced once is cut off with all behind it",
        "store/recovery.py",
        "    if any(entry.durable > sequence for entry in later):",
        "    if any(entry.durable < 0 for entry in later):",
        _RECOVERY_TESTS + "test_after_a_restart_of_the_machine_synced_entries_are_missed",
    ),
    "journal_durable_too_far": PythonBug(
        "a sync vouches for what was written while it ran",
        "store/journal.py",
        "        self._synced_to = sequence",
        "        self._synced_to = self._written",
        _JOURNAL_TESTS + "test_durable_is_never_said_of_what_a_running_sync_does_not_cover",
    ),
    "journal_entry_unchecked": PythonBug(
        "an entry is believed without its checksum",
        "store/journal_format.py",
        "    if zlib.crc32(payload) != crc:",
        "    if len(payload) != length:",
        "tests/unit/store/test_journal_format.py::"
        "test_every_damaged_byte_of_an_entry_is_damage_and_never_torn",
    ),
    "journal_lost_pages_believed": PythonBug(
        "the start after a failed sync reads the journal from the kernel's memory",
        "store/failed_sync.py",
        "            files.drop_cache(path)\n",
        "",
        "tests/unit/store/test_failed_sync.py::"
        "test_what_the_device_does_not_give_back_is_not_believed",
    ),
    "journal_retries_failed_sync": PythonBug(
        "a sync of the journal that failed is tried again and believed",
        "store/journal.py",
        "        if error is not None:\n            self._fail_sync(error)\n        elif",
        "        if error is not None:\n            self._sync_soon()\n        elif",
        _JOURNAL_TESTS + "test_a_failed_sync_is_never_tried_again",
    ),
    "journal_start_syncs_nothing": PythonBug(
        "entries a killed process left are called durable without a sync",
        "store/journal.py",
        "                self._files.sync(fd)\n            self._files.sync_directory(self",
        "                pass\n            self._files.sync_directory(self",
        _JOURNAL_TESTS + "test_a_start_syncs_what_a_killed_process_left",
    ),
    "metadata_renamed_before_sync": PythonBug(
        "a metadata file is renamed into its place before it is synced",
        "store/files.py",
        "        files.sync(fd)\n    finally:\n        files.close(fd)\n    files.rename",
        "        pass\n    finally:\n        files.close(fd)\n    files.rename",
        "tests/unit/store/test_files.py::test_the_new_content_is_synced_before_it_takes_the_place",
    ),
    "metadata_rename_not_synced": PythonBug(
        "the folder of a renamed metadata file is not synced",
        "store/files.py",
        "    files.sync_directory(path.parent)",
        "    return",
        "tests/unit/store/test_files.py::test_the_new_content_is_synced_before_it_takes_the_place",
    ),
    "previous_generation_ignored": PythonBug(
        "only the newest snapshot is looked at",
        "store/recovery.py",
        "    for generation in reversed(snapshots):",
        "    for generation in snapshots[-1:]:",
        _RECOVERY_TESTS + "test_a_damaged_snapshot_is_replaced_by_the_generation_before",
    ),
    "previous_generation_removed": PythonBug(
        "the generation before the newest is not kept",
        "store/recovery.py",
        "    generation = max((n for n in snapshots if n < newest), default=newest)",
        "    generation = newest",
        _JOURNAL_TESTS + "test_a_grown_journal_is_followed_by_a_new_generation",
    ),
    "unreadable_means_empty": PythonBug(
        "with no readable snapshot the broker begins with empty tables",
        "store/recovery.py",
        '    raise _damaged(damaged[0], "is damaged, and no earlier snapshot can be read",'
        " directory)",
        "    return damaged, snapshots[-1], Tables(), 0, 0",
        _RECOVERY_TESTS
        + "test_a_damaged_snapshot_without_another_is_refused_also_where_no_change_follows",
    ),
}

__all__ = ["PYTHON_BUGS", "RUST_BUGS", "PythonBug", "RustBug"]
