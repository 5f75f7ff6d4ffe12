"""GraphRunner: steps of a compiled graph, run natively beside Python.

In: a `Plan`.  Out: a `CompiledGraph` of the protocol, its runs and handles.
Invariant: no method computes anything itself: Python writes words and addresses, the loop does the rest (beside
Python, or within `wait_word` and `leave` where there is one core); memory that a step may still touch is kept by its
run, and runs are kept by their thread until they have ended.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from coexec.clusters.placement import Placement
from coexec.errors import CoexecError, GraphFailed
from coexec.graph.symbolic import Feed, Output, ScalarValue, SymbolicGraph, count_arrivals
from coexec.graph_side import channel
from coexec.graph_side.buffers import Shape
from coexec.graph_side.channel import ENDED, IDLE, QUEUED, RUNNING, AnyThread
from coexec.graph_side.frame import Array, Frame, Memory
from coexec.graph_side.plan import ERROR, ERROR_AT, FINISHED, STALLED, STARTED, STATE, UNFIT, Plan
from coexec.graph_side.remains import Remains
from coexec.graph_side.runner_protocol import Handle, RunTimes
from coexec.graph_side.sequence import CompiledCluster
from comprehension.jit.arrays import address_of

_NO_TIMES = RunTimes()
new_handle = object.__new__
RUN_AHEAD = 1  # unfinished steps before the one that starts


class NativeHandle:
    """A kept output of a finished run: `address` is where its contents are or will be, in a buffer that it keeps."""

    __slots__ = ("_shape", "address", "buffer", "run")

    def __init__(self, run: NativeRun | None, buffer: Array, address: int, shape: tuple[int, ...]) -> None:
        self.run = run  # None once it is known to have ended well
        self.buffer = buffer
        self._shape = shape
        self.address = address

    def wait(self) -> Array:
        run = self.run
        if run is not None:
            run.wait_ended()
            if run.error is not None:
                raise run.error
            self.run = None
        return self.view(self._shape)

    def view(self, shape: tuple[int, ...]) -> Array:
        """A read-only array over the buffer, filled or not."""
        view = self.buffer.reshape(shape)
        view.flags.writeable = False
        return view


class NativeRun:
    """One step: the protocol's methods, called by one thread."""

    __slots__ = (
        "_before", "_chosen", "_closed", "_compiled", "_ended", "_fed", "_frame", "_lock", "_number", "_plan", "_sent",
        "_sizes", "_times", "error", "thread",
    )  # fmt: skip

    def __init__(self, compiled: NativeGraph, frame: Frame, thread: AnyThread) -> None:
        self.thread = thread
        self.error: CoexecError | None = None
        self._compiled = compiled
        self._plan = compiled.plan
        self._frame = frame
        self._fed: dict[int, Any] = {}  # what the step reads from, kept until it has ended
        self._before: NativeRun | None = None  # the unfinished run whose results it reads
        self._sizes: dict[str, int] = {}
        self._chosen: list[int] = []  # targets, in the order of the cases
        self._sent = [0] * len(self._plan.choices)
        self._number = 0  # in the thread's order; 0 while not published
        self._times = _NO_TIMES
        self._lock = threading.RLock()
        self._ended = self._closed = False  # the graph's side is over; Python's side is

    # --- the protocol ------------------------------------------------------------------------------------

    def bind(self, symbol: int, value: int) -> None:
        graph, plan = self._plan.graph, self._plan
        name = graph.symbols[symbol]
        self._sizes[name] = value
        self._frame.view[plan.symbols[symbol]] = value
        for number, group in enumerate(plan.groups):
            if name in group.symbols and all(other in self._sizes for other in group.symbols):
                self._frame.fill(number, self._sizes)
                if group.ready:
                    self.thread.write(self._frame.words, group.ready, 1)

    def feed(self, slot: int, value: Array | Handle | ScalarValue) -> None:
        frame, plan = self._frame, self._plan
        word = plan.feeds[slot]
        if word == 0:
            for scalar in plan.scalars[slot]:
                self.thread.write(frame.words, scalar.slot, frame.put_scalar(scalar, value))
            return
        self.thread.write(frame.words, word, self._take_feed(slot, value))

    def feed_all(self, values: Sequence[tuple[int, Array | Handle]]) -> None:
        words, fed, before = self._plan.feeds, self._fed, self._before
        written = []
        for slot, value in values:
            if type(value) is NativeHandle and (value.run is None or value.run is before):  # most are what a step left
                fed[slot] = value
                written.append((words[slot], value.address))
            else:
                written.append((words[slot], self._take_feed(slot, value)))
                before = self._before
        self.thread.write_all(self._frame.words, written)

    def _take_feed(self, slot: int, value: Any) -> int:
        """Keeps a tensor's contents for the step; their address."""
        if type(value) is NativeHandle:
            if value.run is not None and value.run is not self._before:
                self._depend_on(value.run)
            self._fed[slot] = value
            return value.address
        array: Array = value if type(value) is np.ndarray else np.asarray(value.wait())
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array).reshape(array.shape)
        self._fed[slot] = array
        return address_of(array)

    def choose(self, case: int, target: int) -> None:
        choice, sent = self._plan.choices[case], self._sent[case]
        words, view = self._frame.words, self._frame.view
        if sent - view[choice.sent + 1] >= choice.ring:  # Python is a whole ring ahead
            self.publish()
            self.thread.wait_word(words, choice.sent + 1, sent - choice.ring + 1)
        view[choice.sent + 2 + sent % choice.ring] = target
        self._sent[case] = sent + 1
        self._chosen.append(target)
        self.thread.write(words, choice.sent, sent + 1)

    def fetch(self, output: Output) -> Array:
        if self._number == 0:
            self.publish()
        plan, frame = self._plan, self._frame
        arrival = count_arrivals(self._compiled.graph, output, self._chosen) if plan.program.loops else 1
        post = plan.posts[output]
        if frame.view[post] < arrival:
            self.thread.wait_word(frame.words, post, arrival)
            if frame.view[post] < arrival:
                self.wait_ended()
                raise self.error or GraphFailed(f"the graph's thread was stopped before output {output} was there")
        return self._contents(output)

    def finish(self, kept: Sequence[Output]) -> tuple[Handle, ...]:
        self.publish()
        self.thread.leave(self._frame.words)
        run = None if self.is_ended() and self.error is None else self
        handles = []
        owned, places = self._frame.owned, self._compiled.places
        for output in kept:
            place = places.get(output)
            handle: NativeHandle | None
            if place is not None and place[2] is not None and type(place[0]) is Output:  # most are such: written out
                handle = new_handle(NativeHandle)
                handle.run, handle._shape = run, place[2]
                handle.buffer, handle.address = owned[place[0]]
            else:
                handle = self._handle(output)
            assert handle is not None, "what is kept is owned or fed"
            handles.append(handle)
        self._close()
        return tuple(handles)

    def cancel(self, wanted: Sequence[Output] = ()) -> Callable[[Output], Array | None]:
        view = self._frame.view
        if self._number == 0 and view[STATE] != IDLE:  # an interrupt came when it had just been published
            self._number = self.thread.published
        if self._number == 0:
            self._ended = True
        else:
            limit = self._compiled.behind(wanted)
            self.thread.cancel(self._frame.words, limit)
            state = view[STATE]  # once: it goes on while we look
            if state == RUNNING or (limit and state == QUEUED):
                self.thread.wait_word(self._frame.words, STATE, ENDED)
        remains = Remains(self._frame, self._sizes)
        self._close()
        self._fed.clear()  # a frame still queued will be skipped unread
        return remains

    def times(self) -> RunTimes:
        self.is_ended()
        return self._times

    # --- for the compiled graph and handles --------------------------------------------------------------

    def publish(self) -> None:
        """Queues the frame, once."""
        if self._number == 0 and not self._ended:
            self.thread.unfinished.append(self)
            self._number = self.thread.publish(self._frame.words)

    def is_ended(self) -> bool:
        """Whether the graph's thread has left the step; takes down how it went."""
        if self._ended:
            return True
        if not 0 < self._number <= self.thread.completed:
            return False
        with self._lock:
            if not self._ended:
                self._take_down()
        return True

    def wait_ended(self) -> None:
        """Blocks until the step has ended."""
        if self._ended:
            return
        if self._number:
            self.thread.wait_completed(self._number)
        if not self.is_ended():
            raise GraphFailed("the graph's thread was stopped before the step had ended")

    @property
    def number(self) -> int:
        """Its place among the frames of its thread, from 1 on; 0 while it is not published."""
        return self._number

    @property
    def is_left(self) -> bool:
        """Whether Python has finished or cancelled the step."""
        return self._closed

    def is_over(self) -> bool:
        """Whether both sides have left the step: the frame may be used again."""
        return self.is_ended() and self._closed

    def _take_down(self) -> None:
        """Error and times of the ended frame."""
        view = self._frame.view
        begin, end, stalled = view[STARTED] / 1e9, view[FINISHED] / 1e9, view[STALLED] / 1e9
        self._times = RunTimes(end - begin - stalled, stalled, begin, end)
        if view[ERROR]:
            self.error = self._compiled.describe_error(view[ERROR_AT], view[ERROR])
        if self._before is not None and self._before.is_ended():  # it ended before this one, in order
            self.error = self.error or self._before.error
        self._before = None
        self._ended = True
        self._release()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._release()

    def _release(self) -> None:
        """Once both sides are over, what the step held is let go."""
        if self._ended and self._closed:
            self._fed.clear()
            self._frame.release()

    def _depend_on(self, run: NativeRun) -> None:
        """Makes sure that a run's results are there when this step needs them, and its error is this step's."""
        if run.thread is not self.thread:
            run.wait_ended()  # frames of one thread run in order; another's need nothing more from Python
        if not run.is_ended():
            self._before = run  # of one thread, and with one step ahead, there is no other
        elif run.error is not None:
            self.error = self.error or run.error

    # --- contents ----------------------------------------------------------------------------------------

    def _contents(self, output: Output) -> Array:
        """What a posted output holds now: its own buffer, or a copy where a loop will write it again."""
        root, shape, extents = self._compiled.place_of(output)
        if extents is None:
            extents = shape.at(self._sizes)
        owned = self._frame.owned.get(root) if type(root) is Output else None
        if owned is not None:
            return owned[0] if owned[0].shape == extents else owned[0].reshape(extents)
        handle = self._handle(output)
        if handle is not None:
            return handle.view(extents)
        copy = np.empty(extents, shape.dtype)
        ctypes.memmove(copy.ctypes.data, self._frame.view[self._plan.slots[output]], copy.nbytes)
        copy.flags.writeable = False
        return copy

    def _handle(self, output: Output) -> NativeHandle | None:
        """The handle of an output with an owned or fed buffer, None for a place in an arena."""
        root, shape, extents = self._compiled.place_of(output)
        if extents is None:
            extents = shape.at(self._sizes)
        if type(root) is Output:
            owned = self._frame.owned.get(root)
            return None if owned is None else NativeHandle(self, owned[0], owned[1], extents)
        fed = self._fed[root.slot]  # type: ignore[union-attr]
        if type(fed) is NativeHandle:
            return NativeHandle(self, fed.buffer, fed.address, extents)
        return NativeHandle(self, fed, address_of(fed), extents)


_PlaceOf = tuple[Output | Feed, Shape, tuple[int, ...] | None]


class NativeGraph:
    """A plan ready to run, and its frames."""

    def __init__(
        self,
        plan: Plan,
        explanation: Callable[[], str],
        placements: tuple[Placement, ...] = (),
    ) -> None:
        self.plan = plan
        self.placements = placements
        self._explanation = explanation
        self._memory = Memory(plan)
        self._frames: list[tuple[Frame, NativeRun]] = []
        self._last: NativeRun | None = None
        self.places: dict[Output, _PlaceOf] = {}  # what `place_of` has found

    @property
    def graph(self) -> SymbolicGraph:
        return self.plan.graph

    @property
    def kernels(self) -> int:
        return len(self.plan.program.kernels)

    @property
    def clusters(self) -> tuple[CompiledCluster, ...]:
        """The clusters with their comprehensions and kernels, for drawings and reports."""
        return self.plan.program.kernels

    def start(self, *, lazy: bool = False) -> NativeRun:
        thread = channel.current()
        unfinished = thread.unfinished
        for run in unfinished:
            if not run.is_left:  # its step was interrupted before it had a Python side
                run.cancel()
        while unfinished and (unfinished[0].is_ended() or len(unfinished) > RUN_AHEAD):
            unfinished.popleft().wait_ended()
        if self._last is not None and self._last.thread is not thread:
            if self._last.thread.is_stopped:
                self._frames.clear()
            else:
                self._last.wait_ended()  # the arenas are in use
        frame = self._idle_frame()
        frame.reset()
        run = self._last = NativeRun(self, frame, thread)
        self._frames.append((frame, run))
        if not lazy:
            run.publish()
        return run

    def explain(self) -> str:
        return self._explanation()

    def place_of(self, output: Output) -> _PlaceOf:
        """Whose buffer an output shows, its shape, and its extents where no symbol decides them."""
        found = self.places.get(output)
        if found is None:
            shape = self.plan.shapes[output]
            root = self.plan.buffers.view_of.get(output, output)
            found = self.places[output] = (root, shape, None if shape.names else shape.at({}))
        return found

    def behind(self, outputs: Iterable[Output]) -> int:
        """The number of the instruction before which all of `outputs` that have memory are written."""
        plan = self.plan
        if plan.program.loops:
            return 0  # instructions are not in the order in which they are done
        roots = [plan.buffers.view_of.get(output, output) for output in outputs]
        return max((plan.written[root][1] + 1 for root in roots if root in plan.written), default=0)

    def close(self) -> None:
        """Frames and buffers go with the last handle and run that refer to them."""
        self._frames.clear()
        self._last = None

    def describe_error(self, kernel: int, code: int) -> GraphFailed:
        """The exception for a stage's nonzero code."""
        cluster = self.plan.program.kernels[kernel]
        errors = cluster.manifest.errors
        message = str(errors[code - 1]) if 0 < code <= len(errors) else f"the kernel returned code {code}"
        if code == UNFIT:
            message = "not for these sizes: " + "; ".join(text for _, text in cluster.manifest.preconditions)
        places = ", ".join(dict.fromkeys(self._place(output) for output in cluster.lowered.outputs))
        return GraphFailed(f"{places}: {message}")

    def _place(self, output: Output) -> str:
        node = next(node for node in self.graph.nodes() if node.id == output.node)
        return f"{node.where} ({node.op.name})"

    def _idle_frame(self) -> Frame:
        for position, (frame, run) in enumerate(self._frames):
            if run.is_over():
                del self._frames[position]
                return frame
        return Frame(self._memory)
