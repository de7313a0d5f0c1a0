/* seqgen_engine.h: streams an exported vocoder, features in, audio out, or a language model, without Python.
 *
 * A model is loaded once and never changes; it may be used from any number of threads. Everything that a stream
 * remembers lies in a flat state blob that the caller owns: it may be copied, written to disk and read back by another
 * process (with the same bundle and weight format). Distinct states may be used at the same time.
 *
 *     seqgen_model model;
 *     seqgen_model_info info = {.struct_size = sizeof info};
 *     seqgen_load("voice", NULL, &model, message, sizeof message);
 *     seqgen_describe(model, &info, message, sizeof message);
 *     void *state = malloc(info.state_bytes), *workspace = malloc(info.workspace_bytes);
 *     seqgen_state_init(model, state, info.state_bytes, message, sizeof message);
 *     seqgen_call call = {.struct_size = sizeof call, .states = &state, .streams = 1, ...};
 *     seqgen_sample(model, &call, message, sizeof message);
 *     seqgen_close(model, message, sizeof message);
 *
 * Every function returns a status; on failure it writes one English sentence to the caller's message buffer (at most
 * message_bytes, always terminated; a null buffer is allowed). Nothing aborts, throws or prints. Sampling neither
 * allocates nor locks.
 *
 * Frames and samples: each frame of features brings `hop` conditioning vectors, one for each sample. The first
 * `latency` vectors of a stream wait for the look-ahead and are dropped, so a fresh stream of F frames makes
 * F * hop - latency samples, a stream under way F * hop. However a stream is cut into calls, and whatever streams share
 * a call, the samples are the same.
 *
 * Lanes: a model whose `lanes` is more than 1 makes that many samples of a stream side by side, each with lanes before it
 * that are further on. So `ahead` samples are under way beyond the last one given out (they are part of `latency`), and
 * what a call is given for each sample, uniforms or elements, it must be given for `ahead` more, which the next call is
 * given again; a Philox stream needs nothing of the kind. `samples` must be what seqgen_state_samples says, and streams
 * of one call agree in it. seqgen_step writes the logits of the samples that the call makes, those under way included;
 * those of the first `ahead` samples of a stream under way were written by calls before and stay as they are: a caller
 * who moves the last `ahead` samples' logits of one call to the beginning of the next call's has all of them.
 *
 * Symbols: a language model makes symbols instead of audio; its `sample_rate` is 0, and a frame is one symbol: `frames`
 * equals `samples`. seqgen_sample writes those it draws to `drawn`, seqgen_step takes those it scores from `symbols`, as
 * many streams and as long as is wanted; both go on behind the last one. Its `channels` is 0, and `features` NULL; the
 * decoder of a translator has one column for each symbol there, as seqgen_encode makes them of a source, and zeros behind
 * the last one.
 *
 * Vectors: an encoder of audio draws nothing. Its `sample_rate` and its `classes` are 0, a frame of `features` is `channels`
 * samples in [-1, 1], and `frames` equals `samples`: seqgen_step writes `params` numbers for each, those of its outputs, then
 * those that they are made of. It is given nothing else; seqgen_sample is refused.
 *
 * Threads: a call runs on the thread that makes it. A model that was loaded with two threads has a helper besides (Linux
 * only), which does nearly half of the work of one call at a time, so that each core's cache holds half of the weights: of a
 * recurrent network half of its products, of several flows the last ones, for some samples, while the caller takes the next
 * samples through the first. A call that finds it at work for another call does without. The samples are the same either
 * way. The helper looks for work during a call and for less than a millisecond after it, then sleeps. Models that would gain
 * nothing by it have none (recurrent ones with less than 512 KiB of weights, dilated stacks, a single flow): seqgen_describe tells.
 *
 * Structures that the caller fills begin with struct_size = sizeof(the structure); later versions only append fields.
 */
#ifndef SEQGEN_ENGINE_H
#define SEQGEN_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SEQGEN_API __declspec(dllexport)
#else
#define SEQGEN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised where a caller that brings its own copy of this header, as native.py does, must not meet an older library. */
#define SEQGEN_ABI_VERSION 5
#define SEQGEN_MAX_STREAMS 16

typedef enum seqgen_status {
    SEQGEN_OK = 0,
    SEQGEN_INVALID = 1,     /* an argument is out of its range */
    SEQGEN_IO = 2,          /* a file cannot be read */
    SEQGEN_FORMAT = 3,      /* a file is damaged or inconsistent */
    SEQGEN_UNSUPPORTED = 4, /* an op, a format version or an instruction set that this engine or machine lacks */
    SEQGEN_CLOSED = 5,      /* the handle is not, or no longer, a loaded model */
    SEQGEN_STATE = 6,       /* the state blob is not one of this model */
    SEQGEN_MEMORY = 7,      /* out of memory while loading */
    SEQGEN_INTERNAL = 8     /* a mistake of the engine */
} seqgen_status;

typedef enum seqgen_format {
    SEQGEN_FORMAT_PROGRAM = 0, /* what the bundle's program asks for */
    SEQGEN_FORMAT_FLOAT32 = 1,
    SEQGEN_FORMAT_BF16 = 2,
    SEQGEN_FORMAT_INT8 = 3
} seqgen_format;

/* A handle, not a pointer: using one that was closed is an error with a message, not a crash. 0 is never a model. */
typedef uint64_t seqgen_model;

typedef struct seqgen_load_options {
    size_t struct_size;
    int32_t format;  /* a seqgen_format: how the recurrent network's weights are held */
    const char *isa; /* "generic", "avx2", "avx512", "avx512bf16", "amx", "neon"; NULL: $SEQGEN_ISA, else the best here */
    int32_t threads; /* 1 (or 0), or 2: a helper thread does half of a call's work, see above */
} seqgen_load_options;

typedef struct seqgen_model_info {
    size_t struct_size;
    int32_t sample_rate;         /* Hz; 0 where symbols are made, not audio */
    int32_t channels;            /* of one frame of features, a speaker's one-hot included; 0 where there are none */
    int32_t hop;                 /* samples a frame */
    int32_t latency;             /* samples of look-ahead at the start of a stream */
    int32_t elements_per_sample; /* symbols drawn for one sample; 1 where samples are real numbers */
    int32_t classes;             /* size of a symbol's alphabet; 0 where samples are real numbers in [-1, 1] */
    int32_t format;              /* a seqgen_format, never SEQGEN_FORMAT_PROGRAM */
    char isa[16];                /* the kernels in use */
    size_t state_bytes;          /* of one stream's state blob */
    size_t workspace_bytes;      /* of a call with SEQGEN_MAX_STREAMS streams; enough for any call */
    size_t weight_bytes;         /* of all weights of the body, which are read for every sample or for some together */
    size_t weight_blocks;        /* 64-byte blocks of weights that are not zero */
    int32_t threads;             /* that a call uses: 1, or 2 where they were asked for and the model is worth it */
    int32_t lanes;               /* samples of a stream made side by side, 1 to 16; see above */
    int32_t ahead;               /* samples under way beyond those of a call: 0 where there is one lane */
    int32_t uniforms_per_sample; /* uniform numbers that one sample takes: as many as symbols, or 1 or 2 for a real one */
    int32_t params;              /* numbers that tell the distribution of one element: of symbols their classes */
    int32_t feeds_back;          /* 1; or 0 where flows make samples of noise and read none of them, see seqgen_step */
    int32_t source_classes;      /* size of the alphabet of sources, see seqgen_encode; 0 where nothing is translated */
} seqgen_model_info;

/* One call for 1 to SEQGEN_MAX_STREAMS streams side by side. All arrays are row-major, streams first. */
typedef struct seqgen_call {
    size_t struct_size;
    void *const *states; /* [streams] distinct state blobs of state_bytes each, any alignment; changed in place */
    int32_t streams;
    void *workspace; /* scratch of this call alone, any alignment; its content means nothing before or after */
    size_t workspace_bytes;
    const float *features; /* [streams][frames][channels], log-mel in nats, then the speaker's one-hot */
    int64_t frames;
    int64_t samples;       /* frames * hop, or up to latency fewer at the start of a stream */
    const float *uniforms; /* [streams][(samples + ahead) * uniforms_per_sample] in [0, 1), or NULL: Philox4x32-10, below */
    uint64_t seed;
    const uint64_t *stream_ids; /* [streams] */
    const uint64_t *positions;  /* [streams] position of the call's first uniform number in its stream */
    float temperature;          /* of seqgen_sample; 1 is the model's own distribution */
    float *audio;               /* [streams][samples] in [-1, 1), of real-valued samples in [-1, 1]; or NULL */
    int16_t *pcm;               /* [streams][samples], or NULL */
    const uint8_t *elements;    /* of seqgen_step: [streams][(samples + ahead) * elements_per_sample] */
    float *logits;              /* of seqgen_step: [streams][(samples + ahead) * elements_per_sample][classes] */
    const float *values;        /* of seqgen_step, in place of elements where samples are real: [streams][samples] */
    float *params;              /* and in place of logits: [streams][samples][params] */
    const int32_t *symbols;     /* of seqgen_step, in place of elements, and needed where `classes` is above 256 */
    int32_t *drawn;             /* of seqgen_sample, where symbols are made: [streams][samples], or NULL */
} seqgen_call;

/* A source that a translator reads. */
typedef struct seqgen_source {
    size_t struct_size;
    const int32_t *symbols; /* [length] below source_classes */
    int64_t length;
    float *columns; /* [as seqgen_source_sizes says][channels] */
    void *workspace;
    size_t workspace_bytes;
} seqgen_source;

/* Training of a gated recurrence over whole sequences, gates in the order r, z, n:
 *     r, z = sigmoid(i_r + R_r h), sigmoid(i_z + R_z h)    n = tanh(i_n + r * (R_n h))    h' = n + z * (h - n)
 * A state is made of `groups` pieces of `width` numbers, each with its own three gates' rows in succession; H is
 * groups * width. Arrays are float32 and row-major, rows first; with SEQGEN_FORMAT_BF16 the products, forward and back,
 * are of matrices and states or gradients rounded to bfloat16, and all else stays as it is. Rows are shared out among
 * `threads`, which changes no bit. */
typedef struct seqgen_gru {
    size_t struct_size;
    const char *isa;     /* as in seqgen_load_options */
    int32_t format;      /* SEQGEN_FORMAT_FLOAT32 or SEQGEN_FORMAT_BF16 */
    int32_t threads;     /* 1 or more */
    int64_t rows, steps; /* 0 or more */
    int64_t groups, width;
    const float *inputs; /* forward: [rows][steps][3 H] i; or NULL, where it is a sum of lines, below */
    const float *hidden; /* [rows][H] the state before */
    const float *weight; /* [3 H][H] R */
    float *states;       /* [rows][steps][H] forward: made; backward: given */
    float *kept;         /* [rows][steps][groups][4][width] r, z, n, R_n h: made and given likewise; forward: or NULL */
    const float *grad;   /* backward: [rows][steps][H] of the states */
    float *grad_inputs;  /* [rows][steps][3 H]; or NULL, where i is a sum of lines */
    float *grad_hidden;  /* [rows][H] */
    void *grad_products; /* [rows][steps][3 H] of R h, in the format: the gradient of R is this times `entered` */
    void *entered;       /* [rows][steps][H] the state before each step, in the format */
    /* i that is never written out: at each step the sum of lines that all rows share and of a row's own, each times its
     * coefficient. Its gradient is that of the lines; the shared ones have one for every two rows, to be summed. */
    int64_t shared_lines, own_lines;
    const float *coefficients; /* [rows][steps][shared_lines + own_lines], those of the shared lines first */
    const float *shared;       /* forward: [shared_lines][3 H] */
    const float *own;          /* forward: [rows][own_lines][3 H] */
    float *grad_shared;        /* backward: [(rows + 1) / 2][shared_lines][3 H] */
    float *grad_own;           /* backward: [rows][own_lines][3 H] */
} seqgen_gru;

SEQGEN_API int32_t seqgen_gru_forward(const seqgen_gru *call, char *message, size_t message_bytes);
SEQGEN_API int32_t seqgen_gru_backward(const seqgen_gru *call, char *message, size_t message_bytes);

/* Training of a stack of dilated, gated convolutions over whole sequences. With `taps` inputs of each layer that lie its
 * dilation apart, the oldest first, and z the products of a tanh and a sigmoid:
 *     x, s = i_l + W_l (a_l[t - (taps-1) d], .., a_l[t])    z_l = tanh(x) * sigmoid(s)    a_(l+1) = a_l + R_l z_l + b_l
 * The first `residuals` layers have R and b: all, or all but the last. Float32, row-major, rows first, but for arrays in the
 * format; with SEQGEN_FORMAT_BF16 products, forward and back, are of what is rounded to bfloat16. Threads as above. */
typedef struct seqgen_dilated {
    size_t struct_size;
    const char *isa;     /* as in seqgen_load_options */
    int32_t format;      /* SEQGEN_FORMAT_FLOAT32 or SEQGEN_FORMAT_BF16 */
    int32_t threads;     /* 1 or more */
    int64_t rows, steps; /* 0 or more */
    int64_t layers, residuals, taps, width, gate;
    const int64_t *dilations; /* [layers]; a layer's reach is (taps - 1) times its dilation */
    const float *entered;     /* forward: [rows][steps][width] a_0 */
    const float *history;     /* forward: [rows][sum of reaches][width] what each layer read before; or NULL: zeros */
    const float *weights;     /* [layers][2 gate][taps][width] W: the rows of tanh, then those of sigmoid */
    const float *outputs;     /* [residuals][width][gate] R */
    const float *biases;      /* forward: [residuals][width] b */
    const float *inputs;      /* forward: [rows][steps][layers][2 gate] i; or NULL, where it is a sum of lines, as above */
    int64_t shared_lines, own_lines;
    const float *coefficients; /* [rows][steps][shared_lines + own_lines] */
    const float *shared;       /* forward: [shared_lines][layers][2 gate] */
    const float *own;          /* forward: [rows][own_lines][layers][2 gate] */
    /* In the format, of rows whose numbers are zeros beyond those named, up to the next multiple of 32, where it is bfloat16. */
    void *read;     /* forward: [layers][rows][steps][taps width] what each layer's products read */
    void *passed;   /* forward: [residuals][rows][steps][gate] z */
    void *grad_inner;   /* backward: [layers][rows][steps][2 gate] of x and s: the gradient of W is this times `read` */
    void *grad_outputs; /* backward: [residuals][rows][steps][width] of R z + b: the gradient of R is this times `passed` */
    /* In the format. */
    void *kept;         /* [layers][rows][steps][2 gate] tanh and sigmoid; forward: made; backward: given */
    void *z;            /* forward: [rows][steps][layers][gate] */
    const void *grad_z; /* backward: likewise */
    float *left;    /* forward: [rows][steps][width] a of the last residual layer + 1; or NULL */
    float *ahead;   /* forward: [rows][sum of reaches][width] the history of what follows; or NULL */
    const float *grad_left;  /* backward: [rows][steps][width]; or NULL: zeros */
    const float *grad_ahead; /* [rows][sum of reaches][width]; or NULL: zeros; of the history before nothing is told */
    float *grad_entered;     /* [rows][steps][width] */
    float *grad_biases;      /* [rows][residuals][width], to be summed */
    float *grad_inputs;      /* [rows][steps][layers][2 gate]; or NULL, where i is a sum of lines */
    float *grad_shared;      /* [(rows + 1) / 2][shared_lines][layers][2 gate] */
    float *grad_own;         /* [rows][own_lines][layers][2 gate] */
} seqgen_dilated;

SEQGEN_API int32_t seqgen_dilated_forward(const seqgen_dilated *call, char *message, size_t message_bytes);
SEQGEN_API int32_t seqgen_dilated_backward(const seqgen_dilated *call, char *message, size_t message_bytes);

/* Training of a softmax over `classes`: log_probs[row] = logits[row][symbol] - log_sums[row], where
 * log_sums[row] = ln sum_k exp logits[row][k], which is kept as the highest logit and what it lacks; backward from gradients
 * of the former to those of the logits. Logits and their gradients are in the format, which may be bfloat16; all else is
 * float32. Threads as above. */
typedef struct seqgen_softmax {
    size_t struct_size;
    const char *isa; /* as in seqgen_load_options */
    int32_t format;  /* SEQGEN_FORMAT_FLOAT32 or SEQGEN_FORMAT_BF16 */
    int32_t threads;
    int64_t rows, classes;
    const void *logits;     /* [rows][classes] */
    const int64_t *symbols; /* [rows] from 0 to classes - 1 */
    float *log_probs;       /* forward: [rows] */
    float *log_sums;        /* [rows][2] forward: made; backward: given */
    const float *grad;      /* backward: [rows] of log_probs */
    void *grad_logits;      /* backward: [rows][classes] */
} seqgen_softmax;

SEQGEN_API int32_t seqgen_softmax_forward(const seqgen_softmax *call, char *message, size_t message_bytes);
SEQGEN_API int32_t seqgen_softmax_backward(const seqgen_softmax *call, char *message, size_t message_bytes);

/* SEQGEN_ABI_VERSION of the library. */
SEQGEN_API int32_t seqgen_abi_version(void);

/* The name of a status, e.g. "SEQGEN_IO"; "unknown" for a number that is none. */
SEQGEN_API const char *seqgen_status_name(int32_t status);

/* Load program.json and its tensors from a bundle directory. `options` may be NULL. */
SEQGEN_API int32_t seqgen_load(const char *directory, const seqgen_load_options *options, seqgen_model *model,
                               char *message, size_t message_bytes);

/* Give a model back; calls that are under way in other threads finish first. */
SEQGEN_API int32_t seqgen_close(seqgen_model model, char *message, size_t message_bytes);

/* Sizes and properties; fills as much of `info` as its struct_size says. */
SEQGEN_API int32_t seqgen_describe(seqgen_model model, seqgen_model_info *info, char *message, size_t message_bytes);

/* Make `state` that of a fresh stream. */
SEQGEN_API int32_t seqgen_state_init(seqgen_model model, void *state, size_t state_bytes, char *message,
                                     size_t message_bytes);

/* How many samples the next call with `frames` frames makes of this stream: max(0, frames * hop - what is still to be
 * dropped at its start). */
SEQGEN_API int32_t seqgen_state_samples(seqgen_model model, const void *state, size_t state_bytes, int64_t frames,
                                        int64_t *samples, char *message, size_t message_bytes);

/* Draw samples: features, uniforms (or a Philox stream) and temperature in; audio and/or pcm out. */
SEQGEN_API int32_t seqgen_sample(seqgen_model model, const seqgen_call *call, char *message, size_t message_bytes);

/* Distributions of given elements: features and elements (or values) in; logits (or params) out, and audio and/or pcm
 * where wanted. Params are those of the distribution as training has them: of a mixture of K logistics K logits, K means
 * and K log-scales, of a Gaussian mean and log-scale, all in units of full scale. Where nothing is fed back `values` are
 * the standard logistic noise behind the samples, at most 1000, and params mean and log-scale of the logistic distribution
 * of each sample given the noise before it. */
SEQGEN_API int32_t seqgen_step(seqgen_model model, const seqgen_call *call, char *message, size_t message_bytes);

/* How many columns a source of so many symbols has, and bytes of workspace that reading it takes. */
SEQGEN_API int32_t seqgen_source_sizes(seqgen_model model, int64_t length, int64_t *columns, size_t *workspace_bytes,
                                       char *message, size_t message_bytes);

/* Columns of a whole source; each depends on symbols on both sides of it. */
SEQGEN_API int32_t seqgen_encode(seqgen_model model, const seqgen_source *source, char *message, size_t message_bytes);

/* Uniform numbers in [0, 1) of a Philox stream, as the sampling call draws them: out[i] is position start + i. */
SEQGEN_API void seqgen_uniforms(uint64_t seed, uint64_t stream, uint64_t start, size_t count, float *out);

#ifdef __cplusplus
}
#endif
#endif
