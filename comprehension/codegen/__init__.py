"""From KernelIR to source text: readable Python for numba on the CPU, for numba.cuda on a GPU.

In: a verified `kernel.ir.Kernel`.  Out: text, entry names, scratch sizes, error messages.
Invariant: the text is made from the IR alone; names of the user reach it only through `names.Scope`.

| file | what it holds |
|---|---|
| `cpu` | statements: stages, loops, tiles, scratch memory; `generate` |
| `value_text`, `index_text`, `check_text` | expressions, subscripts and checks as text |
| `checks`, `liveness`, `subscript` | what must be checked; which blends can be left out; offsets as polynomials |
| `function`, `names`, `abi` | the function being printed, its names, the order of its arguments |
| `simd` | what generated text imports: memory, tiles, arithmetic as numba intrinsics |
| `tile`, `lanes`, `memory`, `region`, `apart`, `cycle`, `transpose`, `fold`, `arithmetic` | the code behind `simd` |
| `vecmath`, `elementary`, `trigonometric`, `special`, `words` | the builtins |
| `lowering`, `runtime` | the text to LLVM; loops of our own (`jit.pool_loops`, say) to LLVM |
| `symbols` | the C functions that an object may call |
| `cuda` | CUDA: a kernel for each stage, its parameters, its grid and blocks; `generate_cuda` |
| `cuda_source`, `cuda_text`, `cuda_value_text` | the function being printed; statements; expressions |
| `cuda_functions` | what generated text imports, on a GPU (`cuda_intrinsics`, `cuda_libm`) and in the simulator |

## Which IR is fast

Measured by `benchmarks/codegen_shapes.py` on a core with one 512-bit multiply-add a cycle (peak 118 GFLOP/s);
R rows of L lanes hold R·L/16 accumulators.

- **Contractions.** `acc` a REGISTER buffer R × L, filled by one whole tile, updated in the loops over the reduction
  by one `Store(acc, Fma(load varying along rows, load along lanes, acc))`, then stored or combined.  At most 26 of 32
  vector registers for accumulators: 12×32, 24×16, 13×32, 8×32, 26×16 all reach 90-97 % of the peak in the inner loop.
  On 16 registers (AVX2): at most 12, as 6×16.
- **Packing.** The lane operand in panels (panel, k, L), the row operand in panels (panel, k, R), so that both are read
  contiguously: products of 256 and 512 reach 80 %, of 768 and 1024 90 %, packing included, with blocks of 256 of k
  and of 96 rows.  The row operand is packed by a tile (R rows × 16 of k) whose store has row stride 1: that is
  transposed in registers.
- **Convolutions.** Channels in lanes (weights packed with the channel last), pixels in rows (read as broadcasts), the
  store transposed: 92-97 %.  Pixels in lanes work too where the image row fills its lanes: 80 %.
- **Limits.** On lanes they are cheap: one mask a tile, masked loads.  On rows of an operand that varies along rows they
  cost a select a row in the inner loop (a third of the speed): pad packed panels and leave the limit to the last
  store.  A limited update of an accumulator needs no blend if whoever reads it on has the same limits.
- **Pointwise.** 32 to 64 lanes a tile, no rows; one store per output, values named by `Define` only where used
  twice (gelu on 4 M floats takes 0.84 of PyTorch's time on one thread).  Strides of 2 to 4 along lanes are as many
  loads and shuffles, other strides than 0 and 1 gathers, about ten times the price of a contiguous load.
- **Reductions.** An accumulator of 64 lanes (four vectors hide the latency of the addition), folded once at the end.
  Folding inside the loop is slow.  `exp` and its sum in one tile save a pass.
- **Compile time** goes with the number of statements, not with the extents: 40 ms and some 10 ms a tile operation
  in a warm process; a product with both packings takes 0.3 s.  Transposes are the largest single statements.
"""
