/* Stands in for libnvinfer, libnvonnxparser and libnvinfer_plugin behind NVIDIA's own Python bindings.
 *
 * The bindings are C++ and call virtual functions, so each object here begins with a pointer to a
 * table of functions, laid out as the Itanium ABI wants it: every interface object holds a pointer to
 * an implementation, and its methods are at the slots named below. They differ between TensorRT 10
 * and 11. Nothing is computed here: what a graph's tensors are, whether a build works and what an
 * execution gives is asked of three callbacks (callbacks.py). A slot that is not modelled returns 0.
 *
 *   gcc -shared -fPIC -DMAJOR=10 -DVERSION='"10.3.0"' -Wl,-soname,libnvinfer.so.10 nvinfer.c
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if MAJOR == 10
enum {
    RUNTIME_LOGGER = 11,
    ENGINE_NAME = 9, ENGINE_PROFILES = 10, ENGINE_INSPECTOR = 18, ENGINE_SHAPE = 19, ENGINE_DTYPE = 20,
    ENGINE_LOCATION = 21, ENGINE_MODE = 23, ENGINE_FORMAT = 26, ENGINE_COUNT = 30, ENGINE_TENSOR = 31,
    CONTEXT_SHAPE = 22, CONTEXT_SET_ADDRESS = 24, CONTEXT_ADDRESS = 25, CONTEXT_ENQUEUE = 37,
    BUILDER_CONFIG = 7, BUILDER_NETWORK = 8, BUILDER_BUILD = 14, BUILDER_LOGGER = 16,
    CONFIG_SET_POOL = 43, CONFIG_POOL = 44, CONFIG_MAKE_TIMING = 40, CONFIG_SET_TIMING = 41,
    CONFIG_TIMING = 42, CONFIG_SET_LEVEL = 47, CONFIG_LEVEL = 48, CONFIG_SET_VERBOSITY = 27,
    CONFIG_VERBOSITY = 28, CONFIG_SET_MONITOR = 56, CONFIG_MONITOR = 57,
    PARSER_ERRORS = 5, PARSER_ERROR = 6, PARSER_CLEAR = 7, PARSER_DELETE = 9,
    LOGGER_LOG = 0
};
#else
enum {
    RUNTIME_LOGGER = 10,
    ENGINE_NAME = 7, ENGINE_PROFILES = 8, ENGINE_INSPECTOR = 14, ENGINE_SHAPE = 15, ENGINE_DTYPE = 16,
    ENGINE_LOCATION = 17, ENGINE_MODE = 19, ENGINE_FORMAT = 22, ENGINE_COUNT = 26, ENGINE_TENSOR = 27,
    CONTEXT_SHAPE = 21, CONTEXT_SET_ADDRESS = 23, CONTEXT_ADDRESS = 24, CONTEXT_ENQUEUE = 36,
    BUILDER_CONFIG = 5, BUILDER_NETWORK = 6, BUILDER_BUILD = 11, BUILDER_LOGGER = 13,
    CONFIG_SET_POOL = 32, CONFIG_POOL = 33, CONFIG_MAKE_TIMING = 29, CONFIG_SET_TIMING = 30,
    CONFIG_TIMING = 31, CONFIG_SET_LEVEL = 36, CONFIG_LEVEL = 37, CONFIG_SET_VERBOSITY = 25,
    CONFIG_VERBOSITY = 26, CONFIG_SET_MONITOR = 45, CONFIG_MONITOR = 46,
    PARSER_ERRORS = 3, PARSER_ERROR = 4, PARSER_CLEAR = 5, PARSER_DELETE = 7,
    LOGGER_LOG = 4
};
#endif
enum { /* the same in both */
    DELETE = 1, /* of interface objects and the parser's family */
    RUNTIME_DESERIALIZE = 3, ENGINE_LAYERS = 3, ENGINE_SERIALIZE = 4, ENGINE_CONTEXT = 5,
    CONTEXT_ENGINE = 7, CONTEXT_ALL_SPECIFIED = 12,
    INSPECTOR_LAYER = 5, INSPECTOR_ENGINE = 6,
    MEMORY_DATA = 2, MEMORY_SIZE = 3, MEMORY_TYPE = 4,
    TIMING_SERIALIZE = 2, TIMING_COMBINE = 3, TIMING_RESET = 4,
    PARSER_PARSE = 0,
    MONITOR_START = 4, MONITOR_STEP = 5, MONITOR_FINISH = 6
};
enum { SLOTS = 128, TENSORS = 64, POOLS = 16, SEVERITY_ERROR = 1, SEVERITY_WARNING = 2 };
typedef enum { RUNTIME, ENGINE, CONTEXT, BUILDER, CONFIG, MEMORY, TIMING, NETWORK, INSPECTOR, KINDS } Kind;
typedef void (*Function)(void);

typedef struct { int32_t rank; int64_t size[8]; } Dims;
typedef struct { char name[64]; int mode; int type; Dims dims; } Tensor;

typedef struct Object {
    Function *table;      /* of the interface: only destructors */
    void *implementation; /* = &methods */
    Function *methods;    /* of the implementation: `this` in the functions below is &methods */
    Kind kind;
    void *logger, *monitor;
    char *data;
    size_t size;
    struct Object *engine, *timing;
    Tensor tensors[TENSORS];
    void *addresses[TENSORS];
    int count, level, verbosity;
    size_t pools[POOLS];
} Object;

typedef int (*Describe)(const char *graph, size_t size, char *said, size_t room);
typedef int (*Build)(const char *graph, size_t size, size_t workspace, int level, char *said, size_t room);
typedef int (*Execute)(const char *graph, size_t size, int count, const char **names, void **addresses);
static Describe describe;
static Build try_build;
static Execute execute;
static atomic_long live;

void stand_in_callbacks(Describe d, Build b, Execute e) { describe = d; try_build = b; execute = e; }
/* Objects that the bindings own now. */
long stand_in_live(void) { return live; }

/* Two entries stand before a table: the offset to the top and the type information, both 0. */
static Function interface_tables[1][4], method_tables[KINDS][SLOTS + 2];
static Function parser_table[SLOTS + 2], error_table[SLOTS + 2];

static Object *self(void *methods) { return (Object *)((char *)methods - offsetof(Object, methods)); }

static Object *make(Kind kind) {
    Object *object = calloc(1, sizeof *object);
    object->table = interface_tables[0] + 2;
    object->implementation = &object->methods;
    object->methods = method_tables[kind] + 2;
    object->kind = kind;
    object->level = 3;
    live++;
    return object;
}

static void delete(Object *object) {
    free(object->data);
    free(object);
    live--;
}

static Object *with_data(Kind kind, const char *head, const void *data, size_t size) {
    Object *object = make(kind);
    size_t head_size = strlen(head);
    object->data = malloc(head_size + size + 1);
    memcpy(object->data, head, head_size);
    if (size) memcpy(object->data + head_size, data, size);
    object->size = head_size + size;
    return object;
}

static void tell(void *logger, int severity, const char *message) {
    typedef void (*Log)(void *, int, const char *);
    if (logger) ((Log)(*(Function **)logger)[LOGGER_LOG])(logger, severity, message);
}
static void say(void *logger, const char *message) { tell(logger, SEVERITY_ERROR, message); }

/* A plan begins with the version and the GPU it was built for, a line, and then holds the graph. */
static const char *head(void) {
    static char text[160];
    const char *gpu = getenv("STAND_IN_GPU");
    snprintf(text, sizeof text, "stand-in plan, TensorRT %s, %s\n", VERSION, gpu ? gpu : "");
    return text;
}

/* Fill in the tensors of a graph: lines of name|mode|type|dims, where dims are separated by commas. */
static int read_tensors(Object *object, char *said, size_t room) {
    static char text[1 << 16];
    memset(text, 0, sizeof text);
    if (!describe || !describe(object->data, object->size, text, sizeof text)) {
        snprintf(said, room, "%s", text);
        return 0;
    }
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && object->count < TENSORS;) {
        Tensor *tensor = &object->tensors[object->count];
        char dims[128] = "", *left = dims;
        if (sscanf(line, "%63[^|]|%d|%d|%127s", tensor->name, &tensor->mode, &tensor->type, dims) < 3)
            continue;
        for (char *dim; (dim = strsep(&left, ",")) && *dim;)
            tensor->dims.size[tensor->dims.rank++] = atoll(dim);
        object->count++;
    }
    return 1;
}

static int find(const Object *engine, const char *name) {
    for (int i = 0; i < engine->count; i++)
        if (!strcmp(engine->tensors[i].name, name)) return i;
    return -1;
}

static long not_modelled(void) { return 0; }
static int yes(void *this) { (void)this; return 1; }
static int no(void *this) { (void)this; return 0; }
static void *logger_of(void *this) { return self(this)->logger; }
static const char *no_name(void *this) { (void)this; return "stand-in"; }
static void nothing(void *this) { (void)this; }

/* runtime and engine */
static void *deserialize(void *this, const char *plan, size_t size) {
    void *logger = self(this)->logger;
    size_t head_size = strlen(head());
    if (size < 14 || memcmp(plan, "stand-in plan,", 14))
        return say(logger, "deserializeCudaEngine: magicTag mismatch"), NULL;
    if (size < head_size || memcmp(plan, head(), head_size))
        return say(logger, "deserializeCudaEngine: version or device tag does not match"), NULL;
    Object *engine = with_data(ENGINE, "", plan + head_size, size - head_size);
    char said[4096] = "";
    if (getenv("STAND_IN_WARNING")) tell(logger, SEVERITY_WARNING, getenv("STAND_IN_WARNING"));
    if (read_tensors(engine, said, sizeof said)) return engine;
    delete(engine);
    return say(logger, said), NULL;
}
static void *engine_serialize(void *this) {
    return with_data(MEMORY, head(), self(this)->data, self(this)->size);
}
static void *engine_context(void *this, int strategy) {
    (void)strategy;
    if (getenv("STAND_IN_NO_CONTEXT")) return NULL;
    Object *context = make(CONTEXT);
    context->engine = self(this);
    return context;
}
static void *engine_inspector(void *this) { (void)this; return make(INSPECTOR); }
static int engine_count(void *this) { return self(this)->count; }
static const char *engine_tensor(void *this, int index) {
    Object *engine = self(this);
    return index >= 0 && index < engine->count ? engine->tensors[index].name : NULL;
}
static Dims engine_shape(void *this, const char *name) {
    int index = find(self(this), name);
    return index < 0 ? (Dims){.rank = -1} : self(this)->tensors[index].dims;
}
static int engine_dtype(void *this, const char *name) {
    int index = find(self(this), name);
    return index < 0 ? 0 : self(this)->tensors[index].type;
}
static int engine_mode(void *this, const char *name) { /* 0 none, 1 input, 2 output */
    int index = find(self(this), name);
    return index < 0 ? 0 : self(this)->tensors[index].mode + 1;
}
static const char *inspect_engine(void *this, int format) {
    (void)this, (void)format;
    return "{\"Layers\": [{\"Name\": \"stand-in\", \"LayerType\": \"Stand-in\", \"Outputs\": "
           "[{\"Format/Datatype\": \"Float\"}]}]}";
}

/* execution context */
static Dims context_shape(void *this, const char *name) { return engine_shape(&self(this)->engine->methods, name); }
static void *context_engine(void *this) { return self(this)->engine; }
static _Bool context_set_address(void *this, const char *name, void *address) {
    int index = find(self(this)->engine, name);
    if (index < 0) return 0;
    self(this)->addresses[index] = address;
    return 1;
}
static void *context_address(void *this, const char *name) {
    int index = find(self(this)->engine, name);
    return index < 0 ? NULL : self(this)->addresses[index];
}
static _Bool context_enqueue(void *this, void *stream) {
    Object *context = self(this), *engine = context->engine;
    const char *names[TENSORS];
    if (!stream) return 0; /* the default stream: we ask for one of our own */
    for (int i = 0; i < engine->count; i++) {
        names[i] = engine->tensors[i].name;
        if (!context->addresses[i] || (uintptr_t)context->addresses[i] % 256) return 0;
        for (int j = 0; j < i; j++) /* a state that is read and written in one place */
            if (context->addresses[i] == context->addresses[j]) return 0;
    }
    return execute && execute(engine->data, engine->size, engine->count, names, context->addresses);
}

/* host memory and timing cache */
static void *memory_data(void *this) { return self(this)->data; }
static size_t memory_size(void *this) { return self(this)->size; }
static int memory_type(void *this) { (void)this; return 2; }
static void *timing_serialize(void *this) {
    Object *timing = self(this);
    return with_data(MEMORY, timing->size ? "" : "stand-in timings", timing->data, timing->size);
}
static _Bool timing_combine(void *this, void *other, _Bool ignore) { (void)this, (void)other, (void)ignore; return 1; }

/* builder and its configuration */
static void *builder_config(void *this) { (void)this; return make(CONFIG); }
static void *builder_network(void *this, uint32_t flags) { (void)this, (void)flags; return make(NETWORK); }
/* STAND_IN_STEPS: so many, of 10 ms each. Returns whether the build is to go on. */
static int report(void *monitor) {
    typedef void (*Start)(void *, const char *, const char *, int32_t);
    typedef _Bool (*Step)(void *, const char *, int32_t);
    typedef void (*Finish)(void *, const char *);
    Function *table = *(Function **)monitor;
    const char *given = getenv("STAND_IN_STEPS");
    int goes_on = 1, steps = given ? atoi(given) : 2;
    ((Start)table[MONITOR_START])(monitor, "building", NULL, steps);
    for (int step = 0; step < steps && goes_on; step++) {
        if (given) usleep(10000);
        goes_on = ((Step)table[MONITOR_STEP])(monitor, "building", step);
    }
    ((Finish)table[MONITOR_FINISH])(monitor, "building");
    return goes_on;
}
static void *builder_build(void *this, Object *network, Object *config) {
    char said[4096] = "";
    if (config->monitor && !report(config->monitor)) return NULL;
    if (!network->size || !try_build ||
        !try_build(network->data, network->size, config->pools[0], config->level, said, sizeof said))
        return say(self(this)->logger, said), NULL;
    return with_data(MEMORY, head(), network->data, network->size);
}
static void config_set_pool(void *this, int pool, size_t size) { self(this)->pools[pool % POOLS] = size; }
static size_t config_pool(void *this, int pool) { return self(this)->pools[pool % POOLS]; }
static void *config_make_timing(void *this, const void *data, size_t size) {
    (void)this;
    return with_data(TIMING, "", data, size);
}
static _Bool config_set_timing(void *this, Object *timing, _Bool ignore) {
    (void)ignore;
    if (timing->size && strncmp(timing->data, "stand-in timings", 16)) return 0;
    self(this)->timing = timing;
    return 1;
}
static void *config_timing(void *this) { return self(this)->timing; }
static void config_set_level(void *this, int level) { self(this)->level = level; }
static int config_level(void *this) { return self(this)->level; }
static void config_set_verbosity(void *this, int verbosity) { self(this)->verbosity = verbosity; }
static int config_verbosity(void *this) { return self(this)->verbosity; }
static void config_set_monitor(void *this, void *monitor) { self(this)->monitor = monitor; }
static void *config_monitor(void *this) { return self(this)->monitor; }

/* parser: an interface without an implementation behind it */
typedef struct { Function *table; char text[4096]; } ParserError;
typedef struct { Function *table; Object *network; ParserError error; int errors; } Parser;

static _Bool parser_parse(Parser *parser, const char *graph, size_t size, const char *path) {
    (void)path;
    Object *network = parser->network;
    free(network->data);
    network->data = malloc(size + 1);
    memcpy(network->data, graph, size);
    network->size = size;
    network->count = 0;
    parser->errors = !read_tensors(network, parser->error.text, sizeof parser->error.text);
    if (parser->errors) network->size = 0;
    return !parser->errors;
}
static int parser_errors(Parser *parser) { return parser->errors; }
static void *parser_error(Parser *parser, int index) { (void)index; return &parser->error; }
static void parser_clear(Parser *parser) { parser->errors = 0; }
static void parser_delete(Parser *parser) { free(parser); live--; }
static const char *error_text(ParserError *error) { return error->text; }
static const char *error_none(ParserError *error) { (void)error; return ""; }

#define SET(table, slot, function) ((table)[2 + (slot)] = (Function)(function))

static void set_runtime_tables(void) {
    Function *runtime = method_tables[RUNTIME], *engine = method_tables[ENGINE], *context = method_tables[CONTEXT];
    SET(runtime, RUNTIME_DESERIALIZE, deserialize);
    SET(runtime, RUNTIME_LOGGER, logger_of);
    SET(engine, ENGINE_LAYERS, yes);
    SET(engine, ENGINE_SERIALIZE, engine_serialize);
    SET(engine, ENGINE_CONTEXT, engine_context);
    SET(engine, ENGINE_NAME, no_name);
    SET(engine, ENGINE_PROFILES, yes);
    SET(engine, ENGINE_INSPECTOR, engine_inspector);
    SET(engine, ENGINE_SHAPE, engine_shape);
    SET(engine, ENGINE_DTYPE, engine_dtype);
    SET(engine, ENGINE_LOCATION, no);
    SET(engine, ENGINE_MODE, engine_mode);
    SET(engine, ENGINE_FORMAT, no);
    SET(engine, ENGINE_COUNT, engine_count);
    SET(engine, ENGINE_TENSOR, engine_tensor);
    SET(context, CONTEXT_ENGINE, context_engine);
    SET(context, CONTEXT_ALL_SPECIFIED, yes);
    SET(context, CONTEXT_SHAPE, context_shape);
    SET(context, CONTEXT_SET_ADDRESS, context_set_address);
    SET(context, CONTEXT_ADDRESS, context_address);
    SET(context, CONTEXT_ENQUEUE, context_enqueue);
    SET(method_tables[INSPECTOR], INSPECTOR_LAYER, inspect_engine);
    SET(method_tables[INSPECTOR], INSPECTOR_ENGINE, inspect_engine);
}

static void set_builder_tables(void) {
    Function *builder = method_tables[BUILDER], *config = method_tables[CONFIG];
    Function *memory = method_tables[MEMORY], *timing = method_tables[TIMING];
    SET(builder, BUILDER_CONFIG, builder_config);
    SET(builder, BUILDER_NETWORK, builder_network);
    SET(builder, BUILDER_BUILD, builder_build);
    SET(builder, BUILDER_LOGGER, logger_of);
    SET(config, CONFIG_SET_POOL, config_set_pool);
    SET(config, CONFIG_POOL, config_pool);
    SET(config, CONFIG_MAKE_TIMING, config_make_timing);
    SET(config, CONFIG_SET_TIMING, config_set_timing);
    SET(config, CONFIG_TIMING, config_timing);
    SET(config, CONFIG_SET_LEVEL, config_set_level);
    SET(config, CONFIG_LEVEL, config_level);
    SET(config, CONFIG_SET_VERBOSITY, config_set_verbosity);
    SET(config, CONFIG_VERBOSITY, config_verbosity);
    SET(config, CONFIG_SET_MONITOR, config_set_monitor);
    SET(config, CONFIG_MONITOR, config_monitor);
    SET(memory, MEMORY_DATA, memory_data);
    SET(memory, MEMORY_SIZE, memory_size);
    SET(memory, MEMORY_TYPE, memory_type);
    SET(timing, TIMING_SERIALIZE, timing_serialize);
    SET(timing, TIMING_COMBINE, timing_combine);
    SET(timing, TIMING_RESET, yes);
    SET(parser_table, PARSER_PARSE, parser_parse);
    SET(parser_table, PARSER_ERRORS, parser_errors);
    SET(parser_table, PARSER_ERROR, parser_error);
    SET(parser_table, PARSER_CLEAR, parser_clear);
    SET(parser_table, PARSER_DELETE - 1, nothing);
    SET(parser_table, PARSER_DELETE, parser_delete);
    for (int slot = 1; slot < 8; slot++) SET(error_table, slot, error_none);
    SET(error_table, 0, no); /* code */
    SET(error_table, 1, error_text);
    SET(error_table, 3, no); /* line */
    SET(error_table, 5, no); /* index of the node */
}

__attribute__((constructor)) static void set_tables(void) {
    for (int kind = 0; kind < KINDS; kind++)
        for (int slot = 0; slot < SLOTS; slot++) SET(method_tables[kind], slot, not_modelled);
    for (int slot = 0; slot < SLOTS; slot++) SET(parser_table, slot, not_modelled);
    for (int slot = 0; slot < SLOTS; slot++) SET(error_table, slot, not_modelled);
    SET(interface_tables[0], DELETE - 1, nothing);
    SET(interface_tables[0], DELETE, delete);
    set_runtime_tables();
    set_builder_tables();
}

/* What the bindings link against. */
static void *make_with_logger(Kind kind, void *logger) {
    Object *object = make(kind);
    object->logger = logger;
    return object;
}
void *createInferRuntime_INTERNAL(void *logger, int version) { (void)version; return make_with_logger(RUNTIME, logger); }
void *createInferBuilder_INTERNAL(void *logger, int version) { (void)version; return make_with_logger(BUILDER, logger); }
void *createNvOnnxParser_INTERNAL(Object *network, void *logger, int version) {
    (void)logger, (void)version;
    Parser *parser = calloc(1, sizeof *parser);
    parser->table = parser_table + 2;
    parser->error.table = error_table + 2;
    parser->network = network;
    live++;
    return parser;
}
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { (void)engine, (void)logger, (void)version; return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { (void)refitter, (void)logger, (void)version; return NULL; }
void *getBuilderPluginRegistry(int capability) { (void)capability; return NULL; }
void *getPluginRegistry(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *name) { (void)logger, (void)name; return 1; }
