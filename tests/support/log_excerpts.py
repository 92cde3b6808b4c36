# ruff: noqa: E501 - sentences as long as logs have them
"""What servers write when they fail: for each known cause an excerpt, in the words of the server.

The sentences are those of the programs' sources and of the issues that the table of causes names;
names, numbers and times are ours.
"""

from __future__ import annotations

E = "E1121 03:57:14.647784 6045"
LOAD = E + " model_lifecycle.cc:642] \"failed to load '{model}' version 1: {reason}\""
INSTANCE = "Internal: unexpected error when creating modelInstanceState: "


def failed(model: str, reason: str) -> str:
    """The server's line on a model that does not load; ``reason`` as inside a JSON string."""
    return LOAD.format(model=model, reason=reason)


def engine(reason: str) -> str:
    """A TensorRT-LLM engine that does not load."""
    return failed("bot_tensorrt_llm", INSTANCE + reason)


def vllm(exception: str) -> str:
    """A traceback of vLLM's engine process and what follows from it."""
    core = "(EngineCore pid=9) ERROR 11-21 05:29:00 [core.py:1136] "
    return "\n".join(
        [
            core + "EngineCore failed to start.",
            core + "Traceback (most recent call last):",
            core + '  File "/x/vllm/v1/engine/core.py", line 329, in __init__',
            core + exception,
            failed(
                "bot",
                "Internal: TritonModelException: vLLM did not start: RuntimeError: Engine core "
                "initialization failed. See root cause above.",
            ),
            "error: creating server: Internal - failed to load all models",
        ]
    )


def python(exception: str) -> str:
    """A Python model whose initialize raises."""
    frames = "\\n\\nAt:\\n  /models/m/1/model.py(7): initialize\\n"
    return failed("m", f"Internal: {exception}{frames}")


CONFIG = E + ' model_repository_manager.cc:1460] "{}"'
PBTXT = "[libprotobuf ERROR /tmp/x/text_format.cc:337] Error parsing text-format "

EXCERPTS = {
    "engine-tensorrt-version": "[TensorRT-LLM][ERROR] 6: The engine plan file is not compatible "
    "with this version of TensorRT, expecting library version 10.3.0 got 10.1.0, please rebuild.\n"
    + engine("[TensorRT-LLM][ERROR] Assertion failed: Failed to deserialize cuda engine"),
    "engine-gpu-architecture": "[TensorRT-LLM][ERROR] 6: The engine plan file is generated on an "
    "incompatible device, expecting compute 8.9 got compute 8.0, please rebuild.",
    "mpi-world-size": engine(
        "[TensorRT-LLM][ERROR] Assertion failed: With communicationMode kLEADER, MPI worldSize is "
        "expected to be equal to tp*pp when participantIds are not specified "
        "(/app/tensorrt_llm/cpp/executorImpl.cpp:345)\\n1       0x7f923a86a645 /opt/x.so(+0x17645)"
    ),
    "engine-config-empty": engine(
        "[json.exception.parse_error.101] parse error at line 1, column 1: syntax error while "
        "parsing value - unexpected end of input; expected '[', '{', or a literal"
    ),
    "engine-schema": engine("[json.exception.out_of_range.403] key 'builder_config' not found"),
    "paged-context-fmha": engine(
        "[TensorRT-LLM][ERROR] Assertion failed: When KV cache block reuse is set, model has to be "
        "built with paged context FMHA support (/x/trtGptModelInflightBatching.cpp:140)"
    ),
    "lora-not-cached": "[TensorRT-LLM][ERROR] Cannot process new request: [TensorRT-LLM][ERROR] "
    "Assertion failed: LoRA task 7 not found in cache. Please send LoRA weights with request "
    "(/x/peftCacheManager.cpp:182)",
    "lora-weights-size": "RuntimeError: Encountered an error when fetching new request: "
    "[TensorRT-LLM][ERROR] Assertion failed: lora_weights has to few values for attn_k "
    "(/x/loraUtils.cpp:85)",
    "engine-tensor-shape": "[TensorRT-LLM][ERROR] Encountered an error in forward function: "
    "[TensorRT-LLM][ERROR] Assertion failed: Tensor 'kv_cache_block_pointers' has invalid shape "
    "(32, 1, 2, 300), expected (32, -1, 2, -1) (/x/tllmRuntime.cpp:143)",
    "engine-file-missing": engine(
        "[TensorRT-LLM][ERROR] Assertion failed: Error opening engine file: "
        "/engines/bot/rank1.engine (/x/sessionUtils.cpp:42)"
    ),
    "paged-kv-full": "[TensorRT-LLM][ERROR] Encountered an error in forward function: "
    "[TensorRT-LLM][ERROR] Assertion failed: Can't allocate new blocks. No free blocks left. "
    "(/x/kvCacheManager.cpp:362)",
    "weight-only-shape": "RuntimeError: [TensorRT-LLM][ERROR] Assertion failed: Number of bytes "
    "for rows and cols must be a multiple of 32. However, num_rows_bytes = 4096 and num_col_bytes "
    "= 2000. (/x/cutlass_preprocessors.cpp:255)",
    "paged-kv-too-small": "[TensorRT-LLM][INFO] Using 693 tokens in paged KV cache.\n"
    + engine(
        "maxTokensInPagedKvCache (693) must be large enough to process at least 1 sequence to "
        "completion (i.e. must be larger than beam_width (1) * tokensPerBlock (64) * "
        "maxBlocksPerSeq (47))"
    ),
    "prompt-too-long": "[TensorRT-LLM][ERROR] Encountered an error when fetching new request: "
    "Prompt length (5200) exceeds maximum input length (4096). Set log level to info and check "
    "TRTGptModel logs for how maximum input length is set",
    "not-decoupled": E + ' pb_stub.cc:721] "Failed to process the request(s) for model '
    "'bot_tensorrt_llm_0_0', message: TritonModelException: Streaming is only supported if model "
    'is deployed using decoupled mode."',
    "unary-on-decoupled": "tritonclient.utils.InferenceServerException: [StatusCode.UNIMPLEMENTED] "
    "ModelInfer RPC doesn't support models with decoupled transaction policy",
    "gpt-model-type": engine("Invalid gpt_model_type. Must be V1/inflight_fused_batching."),
    "lookahead-values": engine(
        "lookahead_window_size, lookahead_ngram_size and lookahead_verification_set_size must be "
        "all set or none"
    ),
    "backend-parameter-missing": engine("Could not find parameter tokenizer_dir"),
    "vllm-memory-taken": vllm(
        "ValueError: Free memory on device cuda:0 (19.77/22.05 GiB) on startup is less than desired "
        "GPU memory utilization (0.95, 20.94 GiB). Decrease GPU memory utilization or reduce GPU "
        "memory used by other processes."
    ),
    "vllm-context-memory": vllm(
        "ValueError: To serve at least one request with the models's max seq len (131072), (4.11 "
        "GiB KV cache is needed, which is larger than the available KV cache memory (4.0 GiB)."
    ),
    "vllm-processor-of-the-first-runner": vllm(
        "ValueError: NGramPerReqLogitsProcessor is not a subclass of "
        "vllm.v1.worker.gpu.sample.logits_processor.LogitsProcessor"
    ),
    "vllm-torchvision": vllm("ModuleNotFoundError: No module named 'torchvision'"),
    "vllm-too-many-images": vllm(
        "vllm.exceptions.VLLMValidationError: At most 2 image(s) may be provided in one prompt. "
        "(parameter=image)"
    ),
    "vllm-no-cache": vllm(
        "ValueError: No available memory for the cache blocks. Try increasing "
        "`gpu_memory_utilization` when initializing the engine."
    ),
    "gpu-out-of-memory": vllm(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total "
        "capacity of 22.19 GiB of which 1.50 MiB is free."
    ),
    "shared-memory": failed(
        "m",
        "Internal: Unable to initialize shared memory key 'triton_python_backend_shm_region_3' to "
        "requested size (67108864 bytes). If you are running Triton inside docker, use '--shm-size' "
        "flag to control the shared memory region size. Each Python backend model instance "
        "requires at least 64 MB of shared memory. Error: No space left on device",
    ),
    "disk-full": python("OSError: [Errno 28] No space left on device: '/hf/hub/x.incomplete'"),
    "killed": "Out of memory: Killed process 4711 (triton_python_b) total-vm:91234567kB",
    "vllm-unknown-argument": failed(
        "bot",
        "Internal: TypeError: AsyncEngineArgs.__init__() got an unexpected keyword argument "
        "'max_modellen'",
    ),
    "vllm-architecture": vllm(
        "ValueError: Model architectures ['FooForCausalLM'] are not supported for now."
    ),
    "pooling-head-part": python(
        "TritonModelException: vLLM did not start: it computes 384 numbers for a text, and the "
        "checkpoint's head 768: this vLLM does not load all of the head"
    ),
    "pooling-task": python(
        "TritonModelException: vLLM did not start: it does not serve this checkpoint for "
        "'classify', but for: token_classify"
    ),
    "pooling-renamed": vllm(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for PoolerConfig\n"
        "  Value error, Parameter `normalize` was removed; use `use_activation` instead. "
    ),
    "reranker-words": vllm(
        "AssertionError: Try loading the original Qwen3 Reranker?, see: "
        "https://github.com/vllm-project/vllm/tree/main/examples/pooling/score"
    ),
    "context-too-long": vllm(
        "ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len "
        "(max_position_embeddings=8192 or model_max_length=None in model's config.json)."
    ),
    "bfloat16": vllm(
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. "
        "Your Tesla T4 GPU has compute capability 7.5."
    ),
    "kind-gpu-parallel": failed(
        "bot",
        "Internal: ValueError: KIND_GPU is currently not supported with tensor_parallel_size > 1",
    ),
    "heads-not-divisible": vllm(
        "ValueError: Total number of attention heads (9) must be divisible by tensor parallel size "
        "(2)."
    ),
    "too-few-gpus": vllm(
        "ValueError: World size (4) is larger than the number of available GPUs (1) in this node."
    ),
    "gated": vllm(
        "OSError: You are trying to access a gated repo. 401 Client Error. Cannot access gated repo "
        "for url https://huggingface.co/meta-llama/x/resolve/main/config.json."
    ),
    "offline": vllm(
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't "
        "find them in the cached files."
    ),
    "tokenizer-missing": python(
        "OSError: Can't load tokenizer for '/home/me/llama'. If you were trying to load it from "
        "'https://huggingface.co/models', make sure you don't have a local directory of that name."
    ),
    "remote-code": vllm(
        "ValueError: The repository /models/bot/1/weights contains custom code which must be "
        "executed to correctly load the model."
    ),
    "weights-damaged": vllm(
        "safetensors_rust.SafetensorError: Error while deserializing header: "
        "MetadataIncompleteBuffer"
    ),
    "chat-template": python("jinja2.exceptions.TemplateSyntaxError: unexpected '}'"),
    "placeholder": PBTXT + "inference.ModelConfig: 29:17: Expected integer, got: $",
    "pbtxt-syntax": PBTXT + 'inference.ModelConfig: 4:9: Message type "inference.ModelInput" has '
    'no field named "datatype".\n'
    + CONFIG.format("failed to read text proto from /r/m/config.pbtxt"),
    "no-config": CONFIG.format(
        "Poll failed for model directory 'stray': failed to open text file for read "
        "/r/stray/config.pbtxt: No such file or directory"
    ),
    "directory-name": CONFIG.format(
        "Poll failed for model directory 'm': unexpected directory name 'm' for model 'other', "
        "directory name must equal model name"
    ),
    "not-unique": CONFIG.format(
        "failed to poll model 'preprocessing': not unique across all model repositories"
    ),
    "no-version": failed(
        "m",
        "Invalid argument: at least one version must be available under the version policy of "
        "model 'm'",
    ),
    "ensemble-batch": CONFIG.format(
        "Invalid argument: ensemble bot allows maximum batch size 64, but it contains model "
        "bot_tensorrt_llm which only allows maximum batch size to be 8"
    ),
    "engine-batch": "tritonclient.utils.InferenceServerException: [StatusCode.INVALID_ARGUMENT] "
    "[request id: 1] inference request batch-size must be <= 4 for 'bot_tensorrt_llm'",
    "ensemble-tensor": CONFIG.format(
        "Invalid argument: in ensemble bot, ensemble tensor x is mapping to non-existing input y in "
        "model bot_preprocessing"
    ),
    "ensemble-cycle": CONFIG.format(
        "Invalid argument: circular dependency between ensembles: a -> b -> a"
    ),
    "missing-member": CONFIG.format(
        "Invalid argument: ensemble bot contains models that are not available or ambiguous: gone"
    ),
    "backend-missing": failed(
        "m",
        "Invalid argument: unable to find backend library for backend 'tensorrtllm', try specifying "
        "runtime on the model configuration.",
    ),
    "no-gpu": failed(
        "m",
        "Invalid argument: instance group m_0 of model m has kind KIND_GPU but no GPUs are "
        "available",
    ),
    "driver": "RuntimeError: CUDA driver version is insufficient for CUDA runtime version",
    "nccl": vllm("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO)"),
    "port-taken": "error: failed to start HTTP service: Unavailable - Socket '0.0.0.0:8000' already "
    "in use ",
    "library-missing": failed(
        "bot_tensorrt_llm",
        "Not found: unable to load shared library: libnvinfer.so.10: cannot open shared object "
        "file: No such file or directory",
    ),
    "option-unknown": "tritonserver: unrecognized option '--strict-model-confg=false'",
    "python-no-file": failed(
        "m", "Internal: model file not found: /models/m/1/model.py does not exist"
    ),
    "python-syntax": python("SyntaxError: invalid syntax (model.py, line 3)"),
    "python-no-class": python(
        "AttributeError: module 'model' has no attribute 'TritonPythonModel'"
    ),
    "python-ascii": python(
        "UnicodeEncodeError: 'ascii' codec can't encode character '\\\\xe9' in position 0: ordinal "
        "not in range(128)"
    ),
    "batching-library": failed("m", "Not found: Batching library path not found: /x.so"),
    "python-module-missing": python("ModuleNotFoundError: No module named 'librosa'"),
    "python-other-image": python("ModuleNotFoundError: No module named 'torch'"),
    "numpy2": "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1.0 as it may "
    "crash.",
    "stub-died": failed("m", "Internal: Stub process 'm_0_0' is not healthy."),
    "member-failed": CONFIG.format(
        "Invalid argument: ensemble 'bot' depends on 'bot_tensorrt_llm' which has no loaded version"
    ),
    "config-unreadable": CONFIG.format(
        "Poll failed for model directory 'm': failed to read text proto from /r/m/config.pbtxt"
    ),
    "engine-deserialize": engine(
        "[TensorRT-LLM][ERROR] Assertion failed: Failed to deserialize cuda engine"
    ),
    "engine-core": "RuntimeError: Engine core initialization failed. See root cause above.",
    "server-gave-up": "error: creating server: Internal - failed to load all models",
    "huge-context": "[TensorRT-LLM][INFO] TRTGptModel maxSequenceLen: 1048576",
    "fmha-disabled": "[TensorRT-LLM][WARNING] Fix optionalParams : KV cache reuse disabled because "
    "model was not built with paged context FMHA support",
    "policy-defaulted": "[TensorRT-LLM][WARNING] batch_scheduler_policy parameter was not found or "
    "is invalid (must be max_utilization or guaranteed_no_evict)",
    "host-memory": vllm("MemoryError: Unable to allocate 12.0 GiB for an array")
    + "\nterminate called after throwing an instance of 'std::bad_alloc'",
    "vllm-no-longer": vllm(
        "ValueError: Model architecture FooForCausalLM was supported in vLLM until v0.10.2, and is "
        "not supported anymore. Please use an older version of vLLM."
    ),
    "attention-head": vllm(
        "RuntimeError: Unsupported CPU attention configuration: head_dim=24 isa=2 kv_cache_idx=0"
    ),
    "tokenizer-transformers5": python(
        "ValueError: Tokenizer class TokenizersBackend does not exist or is not currently imported."
    ),
    "tokenizers-version": python(
        "Exception: data did not match any variant of untagged enum ModelWrapper at line 7 column 3"
    ),
    "rope-scaling": vllm("KeyError: 'original_max_position_embeddings'"),
    "weights-shape": vllm(
        "AssertionError: Attempted to load weight (torch.Size([128256, 64])) into parameter "
        "(torch.Size([128258, 64]))"
    ),
    "weights-missing": vllm(
        "RuntimeError: Cannot find any model weights with `/models/bot/1/weights`"
    ),
    "lora-rank": vllm("ValueError: LoRA rank 64 is greater than max_lora_rank 16."),
    "lora-unsupported": vllm("ValueError: vLLM does not yet support DoRA."),
    "multimodal-limit": vllm("ValueError: At most 0 image(s) may be provided in one prompt."),
    "cuda-fork": vllm(
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with "
        "multiprocessing, you must use the 'spawn' start method"
    ),
    "batched-tokens": vllm(
        "ValueError: max_num_batched_tokens (512) is smaller than max_model_len (4096)."
    ),
    "quantization-mismatch": vllm(
        "ValueError: torch.bfloat16 is not supported for quantization method awq. Supported "
        "dtypes: [torch.float16]"
    ),
    "checkpoint-unknown": vllm(
        "ValueError: Unrecognized model in /models/bot/1/weights. Should have a `model_type` key in "
        "its config.json"
    ),
    "architecture-inspection": vllm(
        "  Value error, Model architectures ['FooForCausalLM'] failed to be inspected. Please check "
        "the logs for more details. [type=value_error]"
    ),
    "engine-argument": vllm(
        "  Value error, --enable-hc-sp requires PP=1 [type=value_error, input_value=ArgsKwargs(())]"
    ),
    "torchscript-none": failed(
        "m",
        "Internal: failed to load model 'm': PytorchStreamReader failed locating file "
        "constants.pkl: file not found",
    ),
    "pytorch-names": failed(
        "m", "Invalid argument: input 'x' does not follow the naming convention <name>__<index>"
    ),
    "onnx-external-data": failed(
        "m",
        "Internal: onnx runtime error 1: Deserialize tensor w failed. tensorprotoutils.cc:180 "
        "GetExtDataFromTensorProto External data path does not exist: model.onnx.data",
    ),
    "onnx-invalid": failed(
        "m",
        "Internal: onnx runtime error 1: Load model from /r/m/1/model.onnx failed:This is an invalid "
        "model. Error in Node:Add_3",
    ),
    "model-file-missing": failed("m", "Internal: failed to stat file /r/m/1/model.onnx"),
    "link-broken": "E1 2 x.cc:1] Poll failed for model directory 'm': failed to stat file /r/m/bpe",
    "root-link-broken": "E1 2 x.cc:1] failed to poll model repository '/r': failed to stat file /r/x",
    "repository-missing": "error: creating server: Internal - failed to stat file /models",
    "permission": failed(
        "m", "Internal: PermissionError: [Errno 13] Permission denied: '/r/m/1/weights.bin'"
    ),
    "backend-api": failed(
        "m", "Unsupported: Triton backend API version does not support this backend"
    ),
    "nccl-shared-memory": vllm(
        "RuntimeError: Error while creating shared memory segment /dev/shm/nccl-a1 (size 9637888)"
    ),
    "gpu-peer-access": vllm(
        "RuntimeError: CUDA error: peer access is not supported between these two devices"
    ),
    "python-import": python(
        "ImportError: cannot import name 'AutoX' from 'transformers' (/usr/lib/x/__init__.py)"
    ),
    "option-needs": "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' "
    "as well.",
    "command": "/opt/tritonserver/nvidia_entrypoint.sh: line 93: exec: --: invalid option",
    "path-converted": "error: creating server: Internal - failed to stat file "
    "C:/Program Files/Git/models",
    "crash-heap": "double free or corruption (!prev)",
    "crash-shell": "/start.sh: line 3: 12 Segmentation fault (core dumped) tritonserver",
    "python-no-import": failed("m", "Internal: ModuleNotFoundError: No module named 'model'"),
    "crash-bus-error": "Signal (7) received.\n 0# 0x0000 in /usr/lib/libc.so.6",
    "crash-instruction": "Signal (4) received.\n 0# f in /opt/x/libvllm.so",
    "crash-python-backend": "Signal (11) received.\n 0# 0x00 in /opt/backends/libtriton_python.so",
    "crash-tensorrt": "Signal (11) received.\n 0# 0x00 in /usr/lib/libc.so.6\n"
    " 1# nvinfer1::x() in /usr/lib/libnvinfer.so.10",
    "crash-onnxruntime": "Signal (11) received.\n 3# OrtRun in /opt/x/libonnxruntime.so.1.19.2",
    "crash-pytorch": "Signal (11) received.\n 3# at::x() in /opt/x/libtorch_cpu.so",
    "crash-driver": "Signal (11) received.\n 3# cuInit in /usr/lib/x86_64-linux-gnu/libcuda.so.1",
    "crash-aborted": "terminate called after throwing an instance of 'frob::Error'\n"
    "  what():  the frob is off\nSignal (6) received.\n 0# gsignal in /lib/libc.so.6",
    "plan-unreadable": failed("m", "Internal: unable to create TensorRT engine"),
    "executor-worker": "RuntimeError: Executor worker returned error",
    "no-version-available": "failed to load 'm', no version is available",
    "asked-to-end": "Signal (15) received.",
    "model-unknown": CONFIG.format(
        "failed to poll model 'm': model not found in any model repository."
    ),
    "platform-unknown": failed("m", "Invalid argument: unknown platform 'tensorflow_graphdef'"),
    "openvino-model": failed("m", "Internal: openvino error in reading network : stoi"),
    "autofill": failed(
        "m",
        "Internal: unable to autofill for 'm', model tensor configurations are contradicting each "
        "other in terms of whether batching is supported",
    ),
    "tensorflow-tag": failed(
        "m",
        "Internal: Could not find meta graph def matching supplied tags: { serve }. Available "
        "tags: { train }",
    ),
    "gpu-ordinal": failed("m", "Internal: unable to set device: invalid device ordinal"),
    "compiler-missing": vllm("RuntimeError: Failed to find C compiler. Please specify via CC"),
    "config-attribute": vllm("AttributeError: 'FooConfig' object has no attribute 'vocab_size'"),
    "multimodal-processor": vllm(
        "ValueError: Failed to apply FooProcessor on data={'text': 'x'} with kwargs={}"
    ),
    "weights-path": failed(
        "bot",
        "Internal: HFValidationError: Repo id must be in the form 'repo_name' or "
        "'namespace/repo_name': '/models/bot/1/weights'. Use `repo_type` argument if needed."
        "\\n\\nAt:\\n  /x/vllm/transformers_utils/config.py(590): get_config\\n",
    ),
    "model-path": vllm(
        "OSError: /models/llama is not a local folder and is not a valid model identifier listed "
        "on 'https://huggingface.co/models'"
    ),
    "python-signature": python("TypeError: from_dir() got an unexpected keyword argument 'frob'"),
    "json-damaged": python("json.decoder.JSONDecodeError: Expecting value: line 1 column 1"),
    "file-missing": python(
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/labels.txt'"
    ),
    "connection": python("ConnectionRefusedError: [Errno 111] Connection refused"),
    "queue-full": "tritonclient.utils.InferenceServerException: [StatusCode.UNAVAILABLE] "
    "[request id: 1] Exceeds maximum queue size",
    "accelerator-unknown": failed(
        "m", "Invalid argument: unknown Execution Accelerator 'tensorrt' is requested"
    ),
    "gpu-only": failed(
        "m", "Invalid argument: unable to load model 'm', TensorRT backend supports only GPU device"
    ),
    "request-tensor": "tritonclient.utils.InferenceServerException: [StatusCode.INVALID_ARGUMENT] "
    "unexpected shape for input 'IN' for model 'm'. Expected [-1,4], got [1,5]",
    "output-batch": "tritonclient.utils.InferenceServerException: failed to split the output tensor "
    "'dets' in responses: expected batch size of atleast 2 in model output, got 1",
    "deadline": "tritonclient.utils.InferenceServerException: [StatusCode.DEADLINE_EXCEEDED] "
    "Deadline Exceeded",
    "hub-missing": python(
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: "
        "https://huggingface.co/frob/frob/resolve/main/config.json"
    ),
    "python-arguments": vllm("TypeError: frob() takes 1 positional argument but 2 were given"),
    "python-package": vllm("ImportError: the frob package is broken"),
    "not-supported": vllm("ValueError: frobs are not supported with this backend"),
    "requires": vllm("ValueError: the frob must be even"),
    "key-missing": vllm("KeyError: 'frob'"),
    "own-check": vllm("AssertionError: the frob is off"),
    "cuda-error": vllm("RuntimeError: CUDA error: frob not permitted"),
    "tensorrt-error": E
    + ' logging.cc:40] "10: [x.cpp::y::1] Error Code 10: Internal Error (frob)"',
    "onnx-error": failed("m", "Internal: onnx runtime error 1: the frob is off"),
    "pytorch-error": failed(
        "m", "Internal: load failed for libtorch model -> 'm': the frob is off"
    ),
    "tensorflow-error": failed(
        "m",
        "Internal: unable to auto-complete model configuration for 'm', failed to load model: frob",
    ),
    "engine-request": "[TensorRT-LLM][ERROR] Encountered an error in forwardAsync function: "
    "[TensorRT-LLM][ERROR] Assertion failed: mNextBlocks.empty() (/src/kvCacheManager.cpp:219)",
    "python-execute": E + " pb_stub.cc:721] \"Failed to process the request(s) for model 'm_0_0', "
    'message: FrobError: the frob is off"',
}

# One sentence for each general row that no other row knows; frames where the row asks for them.
FRAME = '  File "/usr/lib/python3/dist-packages/{}", line 7, in {}\n'
EXCERPTS |= {
    "hub-rate": "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests",
    "lora-disabled": "RuntimeError: LoRA is not enabled",
    "option-missing": "vllm serve: error: the following arguments are required: model_tag",
    "pytorch-output": "PyTorch execute failure: Expected Tensor but got GenericDict",
    "fp8-type": 'ValueError("type fp8e4nv not supported in this architecture.")',
    "lora-missing": "ValueError: Loading lora sql failed: No adapter found for /adapters/sql",
    "chat-refused": "jinja2.exceptions.TemplateError: Only user and assistant roles are supported!",
    "ray-worker": "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing.",
    "weights-loading": FRAME.format("vllm/frob.py", "load_weights")
    + "RuntimeError: The size of tensor a (8) must match the size of tensor b (16)",
    "compile-failed": FRAME.format("torch/_inductor/scheduler.py", "frob")
    + "FrobError: the frob is off",
    "engine-other-release": "[TensorRT-LLM][ERROR] Assertion failed: frob == off (/x/y.cpp:1)\n"
    "1       0x7fdd tensorrt_llm::plugins::FrobPluginCreator::deserializePlugin(char const*) + 50",
    "tensor-sizes": "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x8 and 16x4)",
    "tensor-types": "RuntimeError: expected scalar type Half but found Float",
    "versions-differ": "FrobError: frob 1.2 is incompatible with off 3.4",
    "checkpoint-fit": "FrobError: the weight frob.off has sizes that nobody wants",
    "engine-execute": "error: INTERNAL - unable to enqueue for inference frob_0",
    "storage": "error: frob of s3://bucket/models went off",
    "gpu": "RuntimeError: cuBLAS error: frob",
    "gpu-use": "FrobError: this GPU went off",
    "shared-memory-use": "FrobError: no region of shared memory is left",
    "memory": "FrobError: too little memory for a frob",
    "unreadable": "FrobError: parse error at line 1: frob",
    "no-access": "FrobError: frobs are forbidden here",
    "not-there": "FrobError: could not find the frob",
    "refused": "Invalid argument: max_batch_size is off",
    "setting": "FrobError: invalid value for the option --frob",
    "not-known": "FrobError: the frob is not recognized",
    "network": "FrobError: the connection to frob went off",
    "process-died": "FrobError: the frob was terminated",
    "wrong-type": "TypeError: frob is off",
    "wrong-value": "ValueError: frob is off",
    "vllm-memory-changed": vllm(
        "AssertionError: Error in memory profiling. Initial free memory 10.1 GiB, current free memory 12.0 GiB."
    ),
    "batched-sequences": vllm(
        "ValueError: max_num_batched_tokens (128) must be greater than or equal to max_num_seqs (256)."
    ),
    "no-pipeline": vllm(
        "NotImplementedError: Pipeline parallelism is not supported for this model."
    ),
    "weights-incomplete": vllm(
        "ValueError: Following weights were not initialized from checkpoint: {'lm_head.weight'}"
    ),
    "kernel-resources": vllm(
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 114688, Hardware limit: 101376."
    ),
    "nccl-timeout": "[rank1]:[E ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3, OpType=ALLREDUCE)",
    "pytorch-devices": failed(
        "m",
        "Internal: failed to load model 'm': The following operation failed in the TorchScript interpreter. RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:1 and cuda:0!",
    ),
    "outside-triton": "ModuleNotFoundError: No module named 'triton_python_backend_utils'",
    "model-control": "error: Unavailable - explicit model load / unload is not allowed if polling is enabled",
    "message-size": '\tdetails = "Received message larger than max (12345678 vs. 4194304)"',
    "read-only": "OSError: [Errno 30] Read-only file system: '/models/m/1/cache'",
    "process-limit": "OSError: [Errno 24] Too many open files: '/models/m/1/a.json'",
    "rust-panic": "thread 'main' (7) panicked at src/lib.rs:12:34:",
}

# Other words for the same causes: those that a broader pattern once took for another one.
ALSO = [
    (
        "tokenizer-missing",
        failed(
            "preprocessing",
            "Internal: HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/weights/bot'. Use `repo_type` argument if needed.\\n\\nAt:\\n  /x/transformers/models/auto/tokenization_auto.py(858): from_pretrained\\n",
        ),
    ),
    (
        "weight-only-shape",
        "RuntimeError: [TensorRT-LLM][ERROR] Assertion failed: The number of rows must be a multiple of 64 but the number of rows is 3424. (/x/cutlass_preprocessors.cpp:143)",
    ),
    (
        "bfloat16",
        "[TensorRT-LLM][ERROR] tensorrt_llm::common::TllmException: [TensorRT-LLM][ERROR] Assertion failed: Unsupported data type, pre SM 80 GPUs do not support bfloat16 (/x/gptAttentionCommon.cpp:462)",
    ),
    (
        "plan-gpu-architecture",
        'E "IRuntime::deserializeCudaEngine: Error Code 1: Internal Error (The engine plan file is generated on an incompatible platform, expecting Linux x86_64 got Windows x86_64, please rebuild.)"',
    ),
    (
        "plan-profile",
        failed(
            "m",
            "Invalid argument: unable to load model 'm', configuration specified max-batch 128 but TensorRT engine only supports max-batch 32",
        ),
    ),
    (
        "unary-on-decoupled",
        "error: generate expects model to produce exactly 1 response, use generate stream for model that generates various number of responses",
    ),
    (
        "host-memory",
        "RuntimeError: Too large swap space. 16.00 GiB out of the 15.5 GiB total CPU memory is allocated for the swap space.",
    ),
    (
        "gpu-ordinal",
        E
        + " model_repository_manager.cc:1186] Invalid argument: instance group m_0 of model m specifies invalid or unsupported gpu id 1. GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are: 0",
    ),
    (
        "no-gpu",
        E
        + " model_repository_manager.cc:1186] Invalid argument: instance group m_0 of model m specifies invalid or unsupported gpu id 0. GPUs with at least the minimum required CUDA compute compatibility of 6.000000 are: ",
    ),
    (
        "driver",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update your driver to a newer version",
    ),
    (
        "nccl-shared-memory",
        "h:1:2 [0] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-abcdef to 33030532 bytes, error: No space left on device (28)",
    ),
    (
        "shared-memory-use",
        python("OSError: [Errno 28] No space left on device: '/dev/shm/psm_0a1b2c3d'"),
    ),
    (
        "onnx-external-data",
        failed(
            "m",
            "Internal: onnx runtime error 6: Exception during initialization: /x/env.cc:1 GetFileLength for /models/m/1/weights.pb failed:Invalid fd was supplied: -1",
        ),
    ),
    (
        "request-tensor",
        "onnx runtime error 2: Got invalid dimensions for input: x for the following indices",
    ),
    (
        "request-tensor",
        "[400] inference input 'x' data-type is 'FP64', but model 'm' expects 'FP32'",
    ),
    (
        "library-missing",
        "error: creating server: Not found - unable to load shared library: /opt/tritonserver/caches/redis/libtritoncache_redis.so: cannot open shared object file: No such file or directory",
    ),
    (
        "weights-shape",
        "AssertionError: self.org_vocab_size=152064 self.input_size=151936 loaded_weight.shape[output_dim]=152064",
    ),
    (
        "weights-missing",
        'FileNotFoundError: No such file or directory: "/m/model-00003-of-00004.safetensors"',
    ),
    (
        "multimodal-processor",
        "ValueError: Attempted to assign 576 multimodal tokens to 577 placeholders",
    ),
    ("vllm-architecture", "KeyError: 'Qwen9ForConditionalGeneration'"),
    (
        "python-module-missing",
        "You need to have sentencepiece or tiktoken installed to convert a slow tokenizer to a fast one.",
    ),
    (
        "numpy2",
        "A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.1.0 as it may crash.",
    ),
]
