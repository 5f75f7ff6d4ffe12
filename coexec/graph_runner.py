"""GraphRunner: steps of a compiled graph, run natively beside Python.

In: a `Plan`.  Out: a `CompiledGraph` of the protocol, its runs and handles.
Invariant: no method computes anything: Python writes words and addresses, the graph's thread does the rest;
memory that a step may still touch is kept by its run, and runs are kept by their thread until they have ended.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coexec import channel
from coexec.channel import GraphThread
from coexec.errors import CoexecError, GraphFailed
from coexec.frame import Array, Frame, Memory
from coexec.plan import ERROR, ERROR_AT, FINISHED, STALLED, STARTED, STATE, Plan
from coexec.runner_protocol import Handle, RunTimes
from coexec.sequence import CompiledCluster
from coexec.symbolic import Case, Feed, Fetch, Goto, Output, ScalarValue, SymbolicGraph

RUN_AHEAD = 1  # unfinished steps before the one that starts
RUNNING, ENDED = 2, 3  # states of a frame


class NativeHandle:
    """A kept output of a finished run; `buffer` and `address` are where its contents are or will be."""

    __slots__ = ("_run", "address", "buffer")

    def __init__(self, run: NativeRun, buffer: Array, address: int) -> None:
        self._run: NativeRun | None = run
        self.buffer = buffer
        self.address = address

    def wait(self) -> Array:
        run = self._run
        if run is not None:
            run.wait_ended()
            if run.error is not None:
                raise run.error
            self._run = None
        return self.buffer

    @property
    def run(self) -> NativeRun | None:
        """The run that writes the buffer; None once it is known to have ended well."""
        return self._run


class NativeRun:
    """One step: the protocol's methods, called by one thread."""

    def __init__(self, compiled: NativeGraph, frame: Frame, thread: GraphThread) -> None:
        self.thread = thread
        self.error: CoexecError | None = None
        self._compiled = compiled
        self._plan = compiled.plan
        self._frame = frame
        self._fed: dict[int, Any] = {}  # what the step reads from, kept until it has ended
        self._before: list[NativeRun] = []  # unfinished runs whose results it reads
        self._sizes: dict[str, int] = {}
        self._chosen: list[tuple[int, int]] = []
        self._sent = [0] * len(self._plan.choices)
        self._number = 0  # in the thread's order; 0 while not published
        self._times = RunTimes(0.0, 0.0)
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
        frame, feed = self._frame, self._plan.graph.feeds[slot]
        if feed.scalar:
            for scalar in self._plan.scalars[slot]:
                self.thread.write(frame.words, scalar.slot, frame.put_scalar(scalar, value))
            return
        if isinstance(value, NativeHandle):
            self._depend_on(value)
            address = value.address
        else:
            array = value if isinstance(value, np.ndarray) else value.wait()  # type: ignore[union-attr]
            value = np.ascontiguousarray(array).reshape(array.shape)
            address = value.__array_interface__["data"][0]
        self._fed[slot] = value
        self.thread.write(frame.words, self._plan.slots[feed], address)

    def choose(self, case: int, target: int) -> None:
        choice, sent = self._plan.choices[case], self._sent[case]
        words, view = self._frame.words, self._frame.view
        if sent - view[choice.sent + 1] >= choice.ring:  # Python is a whole ring ahead
            self.thread.wait_word(words, choice.sent + 1, sent - choice.ring + 1)
        view[choice.sent + 2 + sent % choice.ring] = target
        self._sent[case] = sent + 1
        self._chosen.append((case, target))
        self.thread.write(words, choice.sent, sent + 1)

    def fetch(self, output: Output) -> Array:
        self.publish()
        plan, frame = self._plan, self._frame
        arrival = self._compiled.arrivals(output, self._chosen) if plan.program.loops else 1
        post = plan.posts[output]
        self.thread.wait_word(frame.words, post, arrival)
        if frame.view[post] < arrival:
            self.wait_ended()
            raise self.error or GraphFailed(f"the graph's thread was stopped before output {output} was there")
        return self._contents(output)

    def finish(self, kept: Sequence[Output]) -> tuple[Handle, ...]:
        self.publish()
        handles = tuple([self._handle(output) for output in kept])
        self._close()
        return handles

    def cancel(self) -> None:
        if self._number == 0:
            self._ended = True
        else:
            self.thread.cancel(self._frame.words)
            if self._frame.view[STATE] == RUNNING:
                self.thread.wait_word(self._frame.words, STATE, ENDED)
        self._close()
        self._fed.clear()  # a frame still queued will be skipped unread

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
        with self._lock:
            if not self._ended and 0 < self._number <= self.thread.completed:
                self._take_down()
            return self._ended

    def wait_ended(self) -> None:
        """Blocks until the step has ended."""
        if self._number:
            self.thread.wait_completed(self._number)
        if not self.is_ended():
            raise GraphFailed("the graph's thread was stopped before the step had ended")

    def is_over(self) -> bool:
        """Whether both sides have left the step: the frame may be used again."""
        return self.is_ended() and self._closed

    def _take_down(self) -> None:
        """Error and times of the ended frame."""
        view = self._frame.view
        stalled = view[STALLED] / 1e9
        self._times = RunTimes((view[FINISHED] - view[STARTED]) / 1e9 - stalled, stalled)
        if view[ERROR]:
            self.error = self._compiled.describe_error(view[ERROR_AT], view[ERROR])
        for earlier in self._before:  # they ended before this one, in order
            earlier.is_ended()
            self.error = self.error or earlier.error
        self._before.clear()
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

    def _depend_on(self, handle: NativeHandle) -> None:
        """Makes sure that the handle's contents are there when this step runs, and its error is this step's."""
        run = handle.run
        if run is None:
            return
        if run.thread is not self.thread:
            run.wait_ended()  # frames of one thread run in order; another's need nothing more from Python
        if not run.is_ended() or run.error is not None:
            self._before.append(run)

    # --- contents ----------------------------------------------------------------------------------------

    def _contents(self, output: Output) -> Array:
        """What a posted output holds now: its own buffer, or a copy where a loop will write it again."""
        array = self._array(output)
        if array is not None:
            return array
        shape = self._plan.shapes[output]
        copy = np.empty(shape.at(self._sizes), shape.dtype)
        ctypes.memmove(copy.ctypes.data, self._frame.view[self._plan.slots[output]], copy.nbytes)
        copy.flags.writeable = False
        return copy

    def _array(self, output: Output) -> Array | None:
        """A read-only array over an owned or fed buffer, None for a place in an arena."""
        root = self._plan.buffers.view_of.get(output, output)
        if isinstance(root, Feed):
            fed = self._fed[root.slot]
            base = fed.buffer if isinstance(fed, NativeHandle) else fed
        elif root in self._frame.owned:
            base = self._frame.owned[root][0]
        else:
            return None
        view = base.view() if root is output else base.reshape(self._plan.shapes[output].at(self._sizes))
        view.flags.writeable = False
        return view

    def _handle(self, output: Output) -> NativeHandle:
        array = self._array(output)
        assert array is not None, f"{output} is kept, so its buffer is owned or fed"
        return NativeHandle(self, array, array.__array_interface__["data"][0])


class NativeGraph:
    """A plan ready to run, and its frames."""

    def __init__(self, plan: Plan, compiled_nodes: int, explanation: Callable[[], str]) -> None:
        self.plan = plan
        self.compiled_nodes = compiled_nodes
        self._explanation = explanation
        self._memory = Memory(plan)
        self._frames: list[tuple[Frame, NativeRun]] = []
        self._last: NativeRun | None = None

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
        while len(thread.unfinished) > RUN_AHEAD or (thread.unfinished and thread.unfinished[0].is_ended()):
            thread.unfinished.popleft().wait_ended()
        if self._last is not None and self._last.thread is not thread:
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

    def close(self) -> None:
        """Frames and buffers go with the last handle and run that refer to them."""
        self._frames.clear()
        self._last = None

    def arrivals(self, output: Output, chosen: Sequence[tuple[int, int]]) -> int:
        """How many times the path has come to a fetch of `output`, by the choices so far (in graphs with loops)."""
        words = deque(chosen)
        count, number = 0, 0
        blocks = self.graph.blocks
        while True:
            block = blocks[number]
            count += sum(isinstance(item, Fetch) and item.source == output for item in block.items)
            match block.terminator:
                case Goto(target):
                    number = target
                case Case(_, targets) if words:
                    number = targets[words.popleft()[1]]
                case _:
                    return count

    def describe_error(self, kernel: int, code: int) -> GraphFailed:
        """The exception for a stage's nonzero code."""
        cluster = self.plan.program.kernels[kernel]
        errors = cluster.manifest.errors
        message = errors[code - 1] if 0 < code <= len(errors) else f"the kernel returned code {code}"
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
