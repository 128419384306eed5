/* Loads a SavedModel as TensorFlow Serving does, tag `serve`, and answers requests from a file.

   usage: replay SAVED_MODEL REQUESTS

   REQUESTS is a TFRecord file of tensorflow.serving.PredictionLog, the format of
   assets.extra/tf_serving_warmup_requests. For each request one JSON object is printed: its
   signature, and by output a flat list of values. Only TensorFlow's C library is needed. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { MAX_TENSORS = 64, LAST_DTYPE = 64 };

typedef struct { const uint8_t *at, *end; } Bytes;
typedef struct { uint64_t number, value; Bytes bytes; } Field;

static TF_Status* status;
static TF_Graph* graph;
static TF_Session* session;

static void fail(const char* what) {
  fprintf(stderr, "replay: %s\n", what);
  exit(1);
}

static void check(void) {
  if (TF_GetCode(status) != TF_OK) fail(TF_Message(status));
}

/* -- protobuf, as it is on the wire -- */

static uint64_t varint(Bytes* from) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (from->at == from->end) fail("a message is cut off");
    uint8_t byte = *from->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  fail("a number is too long");
  return 0;
}

static int next_field(Bytes* message, Field* field) {
  if (message->at == message->end) return 0;
  uint64_t tag = varint(message), size = 0;
  *field = (Field){.number = tag >> 3};
  switch (tag & 7) {
    case 0: field->value = varint(message); break;
    case 1: size = 8; break;
    case 2: size = varint(message); break;
    case 5: size = 4; break;
    default: fail("a field has no known type");
  }
  if (size > (uint64_t)(message->end - message->at)) fail("a message is cut off");
  field->bytes = (Bytes){message->at, message->at + size};
  message->at += size;
  return 1;
}

static Field get(Bytes message, uint64_t number) {
  Field field, found = {0};
  while (next_field(&message, &field)) {
    if (field.number == number) found = field;
  }
  return found;
}

static int same(Bytes a, Bytes b) {
  size_t size = a.end - a.at;
  return size == (size_t)(b.end - b.at) && (!size || !memcmp(a.at, b.at, size));
}

/* The value of a map's key; a map is a list of entries {key = 1, value = 2}. */
static Bytes lookup(Bytes message, uint64_t number, Bytes key) {
  Field field;
  while (next_field(&message, &field)) {
    if (field.number == number && same(get(field.bytes, 1).bytes, key)) {
      return get(field.bytes, 2).bytes;
    }
  }
  fprintf(stderr, "%.*s: ", (int)(key.end - key.at), (const char*)key.at);
  fail("the SavedModel does not have it");
  return key;
}

/* -- tensors -- */

/* The place in the graph that a TensorInfo {name = 1} stands for: `operation:index`. */
static TF_Output place(Bytes info) {
  Bytes name = get(info, 1).bytes;
  char text[1024];
  snprintf(text, sizeof text, "%.*s", (int)(name.end - name.at), (const char*)name.at);
  char* colon = strrchr(text, ':');
  if (colon) *colon = 0;
  TF_Output found = {TF_GraphOperationByName(graph, text), colon ? atoi(colon + 1) : 0};
  if (!found.oper) fail("a signature names an operation that the graph does not have");
  return found;
}

/* A TensorProto {dtype = 1} as a tensor; TensorFlow's own operation ParseTensor reads it. */
static TF_Tensor* parse_tensor(Bytes proto) {
  static TF_Output given[LAST_DTYPE], parsed[LAST_DTYPE];
  TF_DataType dtype = (TF_DataType)get(proto, 1).value;
  if ((unsigned)dtype >= LAST_DTYPE) fail("a tensor has an unknown type");
  if (!parsed[dtype].oper) {
    char name[32];
    snprintf(name, sizeof name, "replay_given_%d", dtype);
    TF_OperationDescription* placeholder = TF_NewOperation(graph, "Placeholder", name);
    TF_SetAttrType(placeholder, "dtype", TF_STRING);
    given[dtype].oper = TF_FinishOperation(placeholder, status);
    check();
    snprintf(name, sizeof name, "replay_parsed_%d", dtype);
    TF_OperationDescription* parse = TF_NewOperation(graph, "ParseTensor", name);
    TF_AddInput(parse, given[dtype]);
    TF_SetAttrType(parse, "out_type", dtype);
    parsed[dtype].oper = TF_FinishOperation(parse, status);
    check();
  }
  TF_Tensor *scalar = TF_AllocateTensor(TF_STRING, NULL, 0, sizeof(TF_TString)), *result = NULL;
  TF_TString* text = TF_TensorData(scalar);
  TF_StringInit(text);
  TF_StringAssignView(text, (const char*)proto.at, proto.end - proto.at);
  TF_SessionRun(session, NULL, &given[dtype], &scalar, 1, &parsed[dtype], &result, 1, NULL, 0,
                NULL, status);
  check();
  TF_DeleteTensor(scalar);
  return result;
}

static void print_string(const char* text, size_t size) {
  putchar('"');
  for (size_t at = 0; at < size; at++) {
    unsigned char byte = text[at];
    if (byte < 32 || byte == '"' || byte == '\\') {
      printf("\\u%04x", byte);
    } else {
      putchar(byte);
    }
  }
  putchar('"');
}

static void print_tensor(TF_Tensor* tensor) {
  int64_t count = TF_TensorElementCount(tensor);
  putchar('[');
  for (int64_t at = 0; at < count; at++) {
    if (at) printf(", ");
    if (TF_TensorType(tensor) == TF_STRING) {
      const TF_TString* text = (TF_TString*)TF_TensorData(tensor) + at;
      print_string(TF_StringGetDataPointer(text), TF_StringGetSize(text));
    } else if (TF_TensorType(tensor) == TF_FLOAT) {
      printf("%.9g", ((float*)TF_TensorData(tensor))[at]);
    } else {
      fail("an output is neither text nor float32");
    }
  }
  putchar(']');
}

/* -- requests -- */

/* PredictRequest {model_spec = 1 {signature_name = 3}, inputs = 2}, SignatureDef {inputs = 1,
   outputs = 2}. */
static void answer(Bytes request, Bytes meta_graph) {
  Bytes signature_name = get(get(request, 1).bytes, 3).bytes;
  Bytes signature = lookup(meta_graph, 5, signature_name);
  TF_Output inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  TF_Tensor *values[MAX_TENSORS], *answers[MAX_TENSORS];
  Bytes names[MAX_TENSORS];
  int given = 0, asked = 0;
  Field field;
  for (Bytes rest = request; next_field(&rest, &field);) {
    if (field.number != 2) continue;
    if (given == MAX_TENSORS) fail("a request has too many inputs");
    inputs[given] = place(lookup(signature, 1, get(field.bytes, 1).bytes));
    values[given++] = parse_tensor(get(field.bytes, 2).bytes);
  }
  for (Bytes rest = signature; next_field(&rest, &field);) {
    if (field.number != 2) continue;
    if (asked == MAX_TENSORS) fail("a signature has too many outputs");
    names[asked] = get(field.bytes, 1).bytes;
    outputs[asked++] = place(get(field.bytes, 2).bytes);
  }
  TF_SessionRun(session, NULL, inputs, values, given, outputs, answers, asked, NULL, 0, NULL,
                status);
  check();
  printf("{\"signature\": ");
  print_string((const char*)signature_name.at, signature_name.end - signature_name.at);
  for (int at = 0; at < asked; at++) {
    printf(", ");
    print_string((const char*)names[at].at, names[at].end - names[at].at);
    printf(": ");
    print_tensor(answers[at]);
    TF_DeleteTensor(answers[at]);
  }
  printf("}\n");
  for (int at = 0; at < given; at++) TF_DeleteTensor(values[at]);
}

/* A TFRecord: its length, a checksum of that, the bytes, a checksum of those. The request is in
   PredictionLog {predict_log = 6 {request = 1}}. */
static void replay(FILE* file, Bytes meta_graph) {
  uint8_t head[12], tail[4];
  while (fread(head, 1, sizeof head, file) == sizeof head) {
    uint64_t size = 0;
    for (int at = 7; at >= 0; at--) size = size << 8 | head[at];
    uint8_t* record = malloc(size + 1);
    if (!record || fread(record, 1, size, file) != size || fread(tail, 1, 4, file) != 4) {
      fail("the file of requests is cut off");
    }
    Bytes log = {record, record + size};
    answer(get(get(log, 6).bytes, 1).bytes, meta_graph);
    free(record);
  }
  if (!feof(file) || ferror(file)) fail("the file of requests cannot be read");
}

int main(int count, char** words) {
  if (count != 3) fail("usage: replay SAVED_MODEL REQUESTS");
  const char* tag = "serve";
  status = TF_NewStatus();
  graph = TF_NewGraph();
  TF_Buffer* meta_graph = TF_NewBuffer();
  TF_SessionOptions* options = TF_NewSessionOptions();
  session = TF_LoadSessionFromSavedModel(options, NULL, words[1], &tag, 1, graph, meta_graph,
                                         status);
  check();
  FILE* file = fopen(words[2], "rb");
  if (!file) fail("the file of requests cannot be opened");
  const uint8_t* data = meta_graph->data;
  replay(file, (Bytes){data, data + meta_graph->length});
  fclose(file);
  TF_DeleteSession(session, status);
  check();
  return 0;
}
