/* Listeners in real time for seqgen-serve, written to the protocol of serving/README.md alone: it shares no code with
 * the server, its Python client or `seqgen-serve bench`, whose figures it can therefore check.
 *
 *     cc -O2 -o load_server tools/load_server.c -lm
 *     ./load_server 127.0.0.1 8080 16 60     host, port, listeners, seconds; a line of JSON, status 1 on failures
 *
 * A listener opens a WebSocket and has utterance after utterance of 5 s made of the first voice. Its features are sent
 * in pieces of 0.1 s, each a second ahead of its time; it begins to play 40 ms after the first sound, and whenever
 * sound comes to a player that has run dry, that is an under-run. Needs POSIX. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const double UTTERANCE = 5.0, AHEAD = 1.0, PIECE = 0.1, PREBUFFER = 0.04;
enum { BUFFER = 1 << 18, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9 };
enum state { WAITING, UPGRADING, OPENING, SPEAKING, PLAYING, OVER };

struct voice { char id[256], signature[64], speaker[256]; int rate, hop, bands; };
struct listener {
    enum state state;
    int number, fd, sent, pieces;
    double due, began, dry; /* when to act next; start of the utterance; when its player runs dry, 0: not begun */
    size_t held;
    unsigned char input[BUFFER];
};
static struct { double *first, seconds, silence; int firsts, underruns, refused, failed; } heard;
static const char *host, *port;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop(const char *format, ...) {
    va_list given;
    va_start(given, format);
    fputs("load_server: ", stderr);
    vfprintf(stderr, format, given);
    fputc('\n', stderr);
    exit(2);
}

static void say(int fd, const void *data, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t went = send(fd, (const char *)data + sent, size - sent, MSG_NOSIGNAL);
        if (went < 0) return; /* its end is found by reading */
        sent += (size_t)went;
    }
}

static int dial(const char *request) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, port, &hints, &found)) stop("%s:%s is no address", host, port);
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    int refused = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    /* Else a piece in several frames waits for the acknowledgement of its first, 40 ms. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (refused) stop("nothing answers on %s:%s; start seqgen-serve first", host, port);
    say(fd, request, strlen(request));
    return fd;
}

/* The text behind "key": in JSON, a string's without its marks. */
static void value(const char *json, const char *key, char *into, size_t size) {
    char name[64];
    snprintf(name, sizeof name, "\"%s\":", key);
    const char *at = strstr(json, name);
    if (!at) stop("the server tells no %s; is it seqgen-serve, and has it a voice?", key);
    at += strlen(name) + strspn(at + strlen(name), " [");
    size_t length = *at == '"' ? strcspn(++at, "\"") : strcspn(at, ",}]");
    snprintf(into, size, "%.*s", (int)length, at);
}

static struct voice first_voice(void) {
    static char answer[BUFFER];
    char request[512], number[32];
    struct voice voice;
    snprintf(request, sizeof request, "GET /v1/audio/voices HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    int fd = dial(request);
    for (size_t held = 0;;) {
        ssize_t got = recv(fd, answer + held, sizeof answer - 1 - held, 0);
        if (got <= 0) break;
        held += (size_t)got;
    }
    close(fd);
    value(answer, "id", voice.id, sizeof voice.id);
    value(answer, "feature_signature", voice.signature, sizeof voice.signature);
    value(answer, "speakers", voice.speaker, sizeof voice.speaker);
    int *numbers[] = {&voice.rate, &voice.hop, &voice.bands};
    for (int i = 0; i < 3; i++) {
        value(answer, (const char *[]){"sample_rate", "hop", "bands"}[i], number, sizeof number);
        *numbers[i] = atoi(number);
    }
    return voice;
}

/* A frame of RFC 6455 from a client; its mask is all zeros, so that the payload stays as it is. */
static void frame(int fd, int kind, const void *data, size_t size) {
    unsigned char head[14] = {(unsigned char)(0x80 | kind)};
    size_t at = 2;
    head[1] = 0x80 | (size < 126 ? (unsigned char)size : size < 65536 ? 126 : 127);
    for (int i = size < 126 ? 0 : size < 65536 ? 2 : 8; i > 0; i--) head[at++] = (unsigned char)(size >> (8 * (i - 1)));
    say(fd, head, at + 4);
    say(fd, data, size);
}

static void end(struct listener *one, int *count) {
    if (count) ++*count;
    close(one->fd);
    one->state = OVER;
}

static void begin(struct listener *one, double until, const struct voice *voice, int per_piece) {
    double seconds = fmin(UTTERANCE, fmax(until - now(), AHEAD));
    one->pieces = (int)fmax(1, round(seconds * voice->rate / voice->hop / per_piece));
    one->state = SPEAKING, one->sent = 0, one->dry = 0, one->began = now(), one->due = 0;
}

static void sound(struct listener *one, double seconds) {
    double time = now();
    if (one->dry == 0) {
        heard.first = realloc(heard.first, sizeof *heard.first * (size_t)(heard.firsts + 1));
        if (!heard.first) stop("out of memory");
        heard.first[heard.firsts++] = time - one->began;
        one->dry = time + PREBUFFER;
    } else if (time > one->dry) {
        heard.underruns++;
        heard.silence = fmax(heard.silence, time - one->dry);
        one->dry = time;
    }
    one->dry += seconds;
    heard.seconds += seconds;
}

/* One message that the server sent; text is ended by a zero byte here. */
static void message(struct listener *one, int kind, unsigned char *data, size_t size, const struct voice *voice) {
    if (kind == PING) frame(one->fd, 10, data, size);
    if (kind == BINARY && size > 4) sound(one, (double)(size - 4) / 2 / voice->rate);
    if (kind == CLOSE) end(one, &heard.failed);
    if (kind != TEXT) return;
    unsigned char behind = data[size];
    data[size] = 0;
    if (strstr((char *)data, "\"ready\"")) one->state = PLAYING, one->due = 0;
    else if (strstr((char *)data, "\"flushed\"")) one->state = PLAYING, one->due = one->dry;
    else fprintf(stderr, "load_server: %s\n", data), end(one, &heard.failed);
    data[size] = behind;
}

static void open_context(struct listener *one, const struct voice *voice) {
    char text[1024];
    const char *ask = *voice->speaker ? ", \"speaker\": \"" : "", *end = *voice->speaker ? "\"" : "";
    snprintf(text, sizeof text,
             "{\"type\": \"init\", \"input\": \"features\", \"signature\": \"%s\", \"seed\": %d%s%s%s}",
             voice->signature, one->number, ask, voice->speaker, end);
    frame(one->fd, TEXT, text, strlen(text));
    one->state = OPENING;
}

static void hear(struct listener *one, const struct voice *voice) {
    ssize_t got = recv(one->fd, one->input + one->held, BUFFER - 1 - one->held, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        end(one, &heard.failed);
        return;
    }
    one->held += (size_t)got;
    size_t at = 0;
    if (one->state == UPGRADING) {
        one->input[one->held] = 0;
        const char *head = (const char *)one->input, *behind = strstr(head, "\r\n\r\n");
        if (!behind) return;
        if (strncmp(head, "HTTP/1.1 101", 12)) {
            end(one, strncmp(head, "HTTP/1.1 503", 12) ? &heard.failed : &heard.refused);
            return;
        }
        at = (size_t)(behind + 4 - head);
        open_context(one, voice);
    }
    while (one->state != OVER && one->held - at >= 2) {
        size_t size = one->input[at + 1] & 127, head = 2;
        if (size >= 126) {
            head = size == 126 ? 4 : 10, size = 0;
            if (one->held - at < head) break;
            for (size_t i = 2; i < head; i++) size = size << 8 | one->input[at + i];
        }
        if (size > BUFFER - 16) stop("a message of %zu bytes came", size);
        if (one->held - at < head + size) break;
        message(one, one->input[at] & 15, one->input + at + head, size, voice);
        at += head + size;
    }
    memmove(one->input, one->input + at, one->held -= at);
}

static void act(struct listener *one, double until, const struct voice *voice, const float *piece, int frames) {
    char text[1024];
    if (one->state == WAITING) {
        snprintf(text, sizeof text,
                 "GET /v1/stream?voice=%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: c2VxZ2VuIGxvYWQgdGVzdA==\r\nSec-WebSocket-Version: 13\r\n\r\n", voice->id, host);
        one->fd = dial(text), one->state = UPGRADING, one->due = INFINITY;
    } else if (one->state == PLAYING) {
        if (now() < until) begin(one, until, voice, frames);
        else end(one, NULL);
    } else if (one->state == SPEAKING && one->sent < one->pieces) {
        frame(one->fd, BINARY, piece, 4 + 4 * (size_t)frames * (size_t)voice->bands);
        double length = (double)frames * voice->hop / voice->rate;
        one->due = one->began + ++one->sent * length - AHEAD;
        if (one->sent == one->pieces) frame(one->fd, TEXT, "{\"type\": \"flush\"}", 17), one->due = INFINITY;
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **given) {
    if (count != 5 || atoi(given[3]) < 1 || atof(given[4]) <= 0) stop("usage: load_server HOST PORT LISTENERS SECONDS");
    host = given[1], port = given[2];
    int listeners = atoi(given[3]), left = listeners;
    struct voice voice = first_voice();
    int frames = (int)fmax(1, round(PIECE * voice.rate / voice.hop));
    size_t values = 1 + (size_t)frames * (size_t)voice.bands; /* four bytes of context 0, then frames */
    float *piece = calloc(values, sizeof *piece);
    struct listener *all = calloc((size_t)listeners, sizeof *all);
    struct pollfd *polled = calloc((size_t)listeners, sizeof *polled);
    if (!piece || !all || !polled) stop("out of memory");
    for (size_t i = 1; i < values; i++) piece[i] = -5 + 4 * ((float)rand() / (float)RAND_MAX - 0.5f);
    double began = now(), until = began + atof(given[4]);
    for (int i = 0; i < listeners; i++) all[i].number = i, all[i].due = began + (double)i / listeners;
    while (left) {
        double next = INFINITY;
        left = 0;
        for (int i = 0; i < listeners; i++) {
            while (all[i].state != OVER && all[i].due <= now()) act(&all[i], until, &voice, piece, frames);
            int quiet = all[i].state == WAITING || all[i].state == OVER;
            polled[i] = (struct pollfd){.fd = quiet ? -1 : all[i].fd, .events = POLLIN};
            if (all[i].state != OVER) left++, next = fmin(next, all[i].due);
        }
        if (left && poll(polled, (nfds_t)listeners, (int)fmin(100, ceil(1000 * fmax(0, next - now())))) > 0)
            for (int i = 0; i < listeners; i++)
                if (polled[i].revents) hear(&all[i], &voice);
    }
    double none = 0, *first = heard.firsts ? heard.first : &none; /* the count tells that there was none */
    int last = heard.firsts ? heard.firsts - 1 : 0;
    qsort(first, (size_t)last + 1, sizeof *first, ascending);
    printf("{\"underruns\": %d, \"longest_silence_ms\": %.1f, \"first_audio_ms_p50\": %.2f, \"first_audio_ms_p99\": %.2f, "
           "\"first_audio_count\": %d, \"refused\": %d, \"failed\": %d, \"audio_seconds\": %.2f}\n",
           heard.underruns, 1000 * heard.silence, 1000 * first[last / 2], 1000 * first[(int)(0.99 * last + 0.5)],
           heard.firsts, heard.refused, heard.failed, heard.seconds);
    return heard.failed > 0;
}
