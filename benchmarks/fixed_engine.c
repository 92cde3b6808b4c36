/* A stand-in for an engine that makes tokens at a fixed speed; a Triton backend.
 *
 * Every step of step_us microseconds it makes one token for each stream, as in-flight batching
 * does. The tokens are those of the prompt, over and over, so the text is known beforehand. Like
 * the backend of TensorRT-LLM it lives in the server's process and answers from a thread of its
 * own. The few functions of Triton's backend API that it needs are declared here. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Error Error;
typedef struct Model Model;
typedef struct Instance Instance;
typedef struct Message Message;
typedef struct Request Request;
typedef struct Response Response;
typedef struct Factory Factory;
typedef struct Input Input;
typedef struct Output Output;

extern void TRITONSERVER_ErrorDelete(Error*);
extern Error* TRITONSERVER_MessageSerializeToJson(Message*, const char**, size_t*);
extern Error* TRITONSERVER_MessageDelete(Message*);
extern Error* TRITONBACKEND_ModelConfig(Model*, uint32_t, Message**);
extern Error* TRITONBACKEND_ModelInstanceModel(Instance*, Model**);
extern Error* TRITONBACKEND_ModelInstanceSetState(Instance*, void*);
extern Error* TRITONBACKEND_ModelInstanceState(Instance*, void**);
extern Error* TRITONBACKEND_RequestInput(Request*, const char*, Input**);
extern Error* TRITONBACKEND_InputBuffer(
    Input*, uint32_t, const void**, uint64_t*, int*, int64_t*);
extern Error* TRITONBACKEND_RequestRelease(Request*, uint32_t);
extern Error* TRITONBACKEND_ResponseFactoryNew(Factory**, Request*);
extern Error* TRITONBACKEND_ResponseFactoryDelete(Factory*);
extern Error* TRITONBACKEND_ResponseNewFromFactory(Response**, Factory*);
extern Error* TRITONBACKEND_ResponseOutput(
    Response*, Output**, const char*, int, const int64_t*, uint32_t);
extern Error* TRITONBACKEND_OutputBuffer(Output*, void**, uint64_t, int*, int64_t*);
extern Error* TRITONBACKEND_ResponseSend(Response*, uint32_t, Error*);

enum { TYPE_UINT64 = 5, TYPE_INT32 = 8, RESPONSE_FINAL = 1, RELEASE_ALL = 1 };

typedef struct Stream {
  struct Stream* next;
  Factory* factory;
  int32_t* ids;
  int32_t count, made, wanted;
  bool streaming, labelled;
  uint64_t key;
} Stream;

typedef struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  Stream* new_streams;
  bool stopped;
  int64_t step_ns;
} Engine;

static int64_t now(void)
{
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void output(Response* response, const char* name, int type, const int64_t* shape,
                   uint32_t rank, const void* data, size_t size)
{
  Output* made;
  void* buffer;
  int memory_type = 0;
  int64_t memory_id = 0;
  TRITONBACKEND_ResponseOutput(response, &made, name, type, shape, rank);
  TRITONBACKEND_OutputBuffer(made, &buffer, size, &memory_type, &memory_id);
  memcpy(buffer, data, size);
}

/* One token, or at the last step of a stream that is none all of them; true when there are more. */
static bool step(Stream* stream)
{
  const bool more = ++stream->made < stream->wanted;
  if (more && !stream->streaming) return true;
  const int32_t first = stream->streaming ? stream->made - 1 : 0;
  const int64_t shape[3] = {1, 1, stream->made - first};
  int32_t* tokens = malloc(shape[2] * sizeof *tokens);
  for (int32_t at = first; at < stream->made; ++at)
    tokens[at - first] = stream->ids[at % stream->count];
  Response* response;
  TRITONBACKEND_ResponseNewFromFactory(&response, stream->factory);
  output(response, "output_ids", TYPE_INT32, shape, 3, tokens, shape[2] * sizeof *tokens);
  if (stream->labelled) output(response, "stream_key", TYPE_UINT64, shape, 2, &stream->key, 8);
  TRITONBACKEND_ResponseSend(response, more ? 0 : RESPONSE_FINAL, NULL);
  free(tokens);
  return more;
}

static void drop(Stream* stream)
{
  TRITONBACKEND_ResponseFactoryDelete(stream->factory);
  free(stream->ids);
  free(stream);
}

/* Adds what is new to the end of the streams, waiting for it when there are none; false to end. */
static bool admit(Engine* engine, Stream** streams)
{
  pthread_mutex_lock(&engine->lock);
  while (!*streams && !engine->new_streams && !engine->stopped)
    pthread_cond_wait(&engine->wake, &engine->lock);
  while (*streams) streams = &(*streams)->next;
  *streams = engine->new_streams;
  engine->new_streams = NULL;
  const bool goes_on = !engine->stopped;
  pthread_mutex_unlock(&engine->lock);
  return goes_on;
}

static void* run(void* given)
{
  Engine* engine = given;
  Stream* streams = NULL;
  int64_t due = 0;
  while (admit(engine, &streams)) {
    /* A step that was late is not made up for: an engine cannot hurry either. */
    due += engine->step_ns;
    if (due < now()) due = now();
    const struct timespec until = {due / 1000000000LL, due % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    for (Stream** at = &streams; *at;) {
      Stream* stream = *at;
      if (step(stream)) {
        at = &stream->next;
      } else {
        *at = stream->next;
        drop(stream);
      }
    }
  }
  while (streams) {
    Stream* next = streams->next;
    drop(streams);
    streams = next;
  }
  return NULL;
}

/* The bytes of an input; NULL when it was not sent. */
static const void* input(Request* request, const char* name, uint64_t* size)
{
  Input* found;
  const void* data = NULL;
  int memory_type = 0;
  int64_t memory_id = 0;
  Error* error = TRITONBACKEND_RequestInput(request, name, &found);
  if (!error) error = TRITONBACKEND_InputBuffer(found, 0, &data, size, &memory_type, &memory_id);
  if (error) TRITONSERVER_ErrorDelete(error);
  return error ? NULL : data;
}

static Stream* stream_of(Request* request)
{
  uint64_t size = 0, other = 0;
  Stream* stream = calloc(1, sizeof *stream);
  const void* ids = input(request, "input_ids", &size);
  stream->ids = malloc(size);
  memcpy(stream->ids, ids, size);
  stream->count = size / sizeof *stream->ids;
  stream->wanted = *(const int32_t*)input(request, "request_output_len", &other);
  const uint8_t* streaming = input(request, "streaming", &other);
  stream->streaming = streaming && *streaming;
  const uint64_t* key = input(request, "stream_key", &other);
  stream->labelled = key != NULL;
  if (key) stream->key = *key;
  TRITONBACKEND_ResponseFactoryNew(&stream->factory, request);
  return stream;
}

Error* TRITONBACKEND_ModelInstanceInitialize(Instance* instance)
{
  Engine* engine = calloc(1, sizeof *engine);
  Model* model;
  Message* config;
  const char* text;
  size_t size;
  TRITONBACKEND_ModelInstanceModel(instance, &model);
  TRITONBACKEND_ModelConfig(model, 1, &config);
  TRITONSERVER_MessageSerializeToJson(config, &text, &size);
  const char* value = strstr(strstr(text, "\"step_us\""), "\"string_value\":") + 15;
  engine->step_ns = 1000 * strtoll(value + 1, NULL, 10);
  TRITONSERVER_MessageDelete(config);
  pthread_mutex_init(&engine->lock, NULL);
  pthread_cond_init(&engine->wake, NULL);
  pthread_create(&engine->thread, NULL, run, engine);
  return TRITONBACKEND_ModelInstanceSetState(instance, engine);
}

Error* TRITONBACKEND_ModelInstanceExecute(Instance* instance, Request** requests, uint32_t count)
{
  Engine* engine;
  TRITONBACKEND_ModelInstanceState(instance, (void**)&engine);
  for (uint32_t i = 0; i < count; ++i) {
    Stream* stream = stream_of(requests[i]);
    TRITONBACKEND_RequestRelease(requests[i], RELEASE_ALL);
    pthread_mutex_lock(&engine->lock);
    stream->next = engine->new_streams;
    engine->new_streams = stream;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
  }
  return NULL;
}

Error* TRITONBACKEND_ModelInstanceFinalize(Instance* instance)
{
  Engine* engine;
  TRITONBACKEND_ModelInstanceState(instance, (void**)&engine);
  pthread_mutex_lock(&engine->lock);
  engine->stopped = true;
  pthread_cond_signal(&engine->wake);
  pthread_mutex_unlock(&engine->lock);
  pthread_join(engine->thread, NULL);
  free(engine);
  return NULL;
}
