/* Calls over UDP: the caller before a SIP element and the carrier behind it, in one process, so that both count.
 *
 * A call is INVITE, 200, ACK, with --full also 180 before the 200, BYE and its 200. One in --refused-every is
 * made by a line that is to be refused. At most --window calls are set up at a time; --rate N paces them. Prints
 * one line of JSON; milliseconds are from an INVITE's first sending to its final answer.
 *
 * gcc -O2 -o callgen callgen.c */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAITS, TALKS, DONE };
static int port, listen_port, calls = 10000, window = 64, refused_every, full, caller, callee;
static double rate, max_seconds = 60;
static const char *line = "057188886666", *refused_line = "057187654321";
static int number, done, passed, refused, other, repeats, invites, acks, byes;
static double *sent, *again, *took;
static char *state;
static char (*tags)[64];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int udp(int at) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (void *)&a, sizeof a)) { perror("bind"); exit(1); }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static int is_refused(int n) { return refused_every && n % refused_every == 0; }

static void say(const char *method, int n, int cseq, const char *to) {
    char out[2048];
    int own, size;
    struct sockaddr_in a;
    socklen_t l = sizeof a;
    getsockname(caller, (void *)&a, &l);
    own = ntohs(a.sin_port);
    size = snprintf(out, sizeof out,
        "%s sip:138%08d@127.0.0.1:%d SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-%d-%d-%s\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:%s@caller.invalid>;tag=f%d\r\nTo: <sip:138%08d@callee.invalid>%s\r\n"
        "Call-ID: %d-%d@127.0.0.1\r\nCSeq: %d %s\r\nContact: <sip:127.0.0.1:%d>\r\nUser-Agent: callgen\r\n"
        "Content-Length: 0\r\n\r\n",
        method, n, listen_port, own, (int)getpid(), n,
        !strcmp(method, "ACK") && *to && is_refused(n) ? "INVITE" : method,
        is_refused(n) ? refused_line : line, n, n, to, n, (int)getpid(), cseq, method, own);
    send(caller, out, size, 0);
}

static void start(double at) {
    sent[number] = again[number] = at;
    say("INVITE", number++, 1, "");
}

static void end(int n) { state[n] = DONE; done++; }

static void told(char *in) {
    char *id = strcasestr(in, "\r\nCall-ID: "), *to = strcasestr(in, "\r\nTo: "), *seq = strcasestr(in, "\r\nCSeq: ");
    int n, status = atoi(in + 8), invite;
    if (!id || !to || !seq) return;
    n = atoi(id + 11);
    if (n < 0 || n >= number || status < 200) return;
    invite = strncmp(seq + 10, "INVITE", 6) == 0;
    if (invite && state[n] == WAITS) {
        char *tag = strstr(to, ";tag="), *stop = strstr(to + 2, "\r\n");
        if (tag && tag < stop && stop - tag < 63) snprintf(tags[n], 64, "%.*s", (int)(stop - tag), tag);
        took[passed + refused + other] = now() - sent[n];
        if (status < 300) passed++;
        else if (status == 603) refused++;
        else other++;
        say("ACK", n, 1, tags[n]);
        if (status < 300 && full) { state[n] = TALKS; again[n] = now(); say("BYE", n, 2, tags[n]); }
        else end(n);
    } else if (invite) say("ACK", n, 1, tags[n]);
    else if (state[n] == TALKS) end(n);
}

static void reply(char *in, struct sockaddr_in *to, const char *status, int tagged) {
    char out[4096], *row = strstr(in, "\r\n") + 2;
    int size = snprintf(out, sizeof out, "SIP/2.0 %s\r\n", status);
    while (row[0] != '\r' && size < 3500) {
        char *stop = strstr(row, "\r\n");
        int length = stop - row;
        if (!strncasecmp(row, "Via:", 4) || !strncasecmp(row, "From:", 5) || !strncasecmp(row, "Call-ID:", 8) ||
            !strncasecmp(row, "CSeq:", 5) || !strncasecmp(row, "Record-Route:", 13))
            size += snprintf(out + size, sizeof out - size, "%.*s\r\n", length, row);
        if (!strncasecmp(row, "To:", 3))
            size += snprintf(out + size, sizeof out - size, "%.*s%s\r\n", length, row, tagged ? ";tag=c" : "");
        row = stop + 2;
    }
    size += snprintf(out + size, sizeof out - size, "Contact: <sip:127.0.0.1:%d>\r\nContent-Length: 0\r\n\r\n", listen_port);
    sendto(callee, out, size, 0, (void *)to, sizeof *to);
}

static void called(char *in, struct sockaddr_in *from) {
    if (!strncmp(in, "INVITE", 6)) {
        invites++;
        if (full) reply(in, from, "180 Ringing", 1);
        reply(in, from, "200 OK", 1);
    } else if (!strncmp(in, "BYE", 3)) { byes++; reply(in, from, "200 OK", 0); }
    else if (!strncmp(in, "ACK", 3)) acks++;
    else if (!strncmp(in, "OPTIONS", 7)) reply(in, from, "200 OK", 1);
}

static int rising(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *w = argv[i];
        if (!strcmp(w, "--full")) full = 1;
        else if (i + 1 == argc) return fprintf(stderr, "%s wants a value\n", w), 2;
        else if (!strcmp(w, "--port")) port = atoi(argv[++i]);
        else if (!strcmp(w, "--listen")) listen_port = atoi(argv[++i]);
        else if (!strcmp(w, "--calls")) calls = atoi(argv[++i]);
        else if (!strcmp(w, "--window")) window = atoi(argv[++i]);
        else if (!strcmp(w, "--rate")) rate = atof(argv[++i]);
        else if (!strcmp(w, "--refused-every")) refused_every = atoi(argv[++i]);
        else if (!strcmp(w, "--max-seconds")) max_seconds = atof(argv[++i]);
        else return fprintf(stderr, "unknown %s\n", w), 2;
    }
    caller = udp(0);
    callee = udp(listen_port);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connect(caller, (void *)&a, sizeof a);
    sent = calloc(calls, sizeof *sent), again = calloc(calls, sizeof *again), took = calloc(calls, sizeof *took);
    state = calloc(calls, 1), tags = calloc(calls, sizeof *tags);
    double began = now(), looked = began;
    int oldest = 0;
    while (done < calls && now() - began < max_seconds) {
        double at = now();
        while (number < calls && number - done < window && (!rate || at - began >= number / rate)) start(at);
        struct pollfd fds[2] = {{caller, POLLIN, 0}, {callee, POLLIN, 0}};
        poll(fds, 2, 1);
        char in[8192];
        for (int k = 0; k < 64; k++) {
            ssize_t got = recv(caller, in, sizeof in - 1, 0);
            if (got <= 0) break;
            in[got] = 0;
            if (!strncmp(in, "SIP/2.0 ", 8)) told(in);
        }
        for (int k = 0; k < 64; k++) {
            struct sockaddr_in from;
            socklen_t l = sizeof from;
            ssize_t got = recvfrom(callee, in, sizeof in - 1, 0, (void *)&from, &l);
            if (got <= 0) break;
            in[got] = 0;
            called(in, &from);
        }
        if (at - looked > 0.1) {
            looked = at;
            while (oldest < number && state[oldest] == DONE) oldest++;
            for (int n = oldest; n < number; n++)
                if (state[n] != DONE && at - again[n] > 0.5) {
                    again[n] = at, repeats++;
                    if (state[n] == WAITS) say("INVITE", n, 1, ""); else say("BYE", n, 2, tags[n]);
                }
        }
    }
    double seconds = now() - began;
    int answered = passed + refused + other;
    usleep(50000);
    for (char in[8192];;) {
        struct sockaddr_in from;
        socklen_t l = sizeof from;
        ssize_t got = recvfrom(callee, in, sizeof in - 1, 0, (void *)&from, &l);
        if (got <= 0) break;
        in[got] = 0;
        called(in, &from);
    }
    qsort(took, answered, sizeof *took, rising);
    printf("{\"calls\": %d, \"done\": %d, \"passed\": %d, \"refused\": %d, \"other\": %d, \"repeats\": %d, "
           "\"invites\": %d, \"acks\": %d, \"byes\": %d, \"seconds\": %.3f, \"per_second\": %.0f, "
           "\"p50_ms\": %.3f, \"p99_ms\": %.3f}\n",
           calls, done, passed, refused, other, repeats, invites, acks, byes, seconds, done / seconds,
           answered ? took[answered / 2] * 1e3 : 0, answered ? took[answered * 99 / 100] * 1e3 : 0);
    return done < calls;
}
