/* sseload - load generator for publish/subscribe servers that stream events.
 *
 * Opens S subscriber connections (Server-Sent Events over HTTP/1.1; also raw
 * Redis or NATS subscriptions, to compare with bare messaging), publishes N
 * events from a second thread, and measures how long each delivery took.
 *
 * Every event carries a CLOCK_MONOTONIC timestamp in nanoseconds after a mark
 * (default: the JSON field  "t":  ), so publisher, server and this tool must
 * share one machine.  See README.md for use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum proto { HTTP, REDIS, NATS };
enum cstate { CONNECTING, HEADERS, STREAMING, DEAD };
enum chunk { C_NONE, C_SIZE, C_EXT, C_DATA, C_CRLF };

#define CARRY 64
#define RBUF (256 * 1024)

struct conn {
    int fd, idx, carry_len;
    uint8_t state, chunk;
    uint64_t chunk_left;
    uint32_t events, expected;
    char *head; /* response header while it is incomplete */
    int head_len;
    char carry[CARRY];
};

/* ---- options ---------------------------------------------------------- */
static struct sockaddr_in addr, pub_addr;
static enum proto proto = HTTP;
static int n_conns = 100, n_users = 1, per_conn = 1, window = 128;
static int pub_conns = 16, pub_count = 0, size = 300, src_ips = 0;
static double pub_rate = 0, settle = 1, hold = 0, timeout_s = 60;
static const char *path = "/v1/stream?users={users}", *pub_path = "/pub/{u}";
static const char *pub_method = "POST", *mark = "\"t\":", *user_fmt = "u%05d";
static const char *headers = "", *label = "", *body_tmpl = NULL, *sep = ",";
static long long expect_opt = -1;
static uint64_t seed = 1;
static bool json_out = false, storm = false, start_from_answer = false;
static int pids[64], n_pids = 0;

/* ---- results ---------------------------------------------------------- */
static struct conn *conns;
static uint32_t *lat_t, *lat_0; /* us: since the event's own t, since start */
static size_t n_lat, cap_lat;
static uint64_t n_initial, n_recv, n_bytes, expected_total;
static uint64_t last_event_ns;
static int established, failed, closed_early;
static _Atomic uint64_t start_ns, pub_done_ns;
static atomic_int pub_ok, pub_err, pub_finished;
static uint32_t *watchers_of;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
static void die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(2);
}

/* ---- which users does connection i watch? ------------------------------ */
static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}
static void watch_list(int i, int *out) { /* per_conn distinct users */
    uint64_t s = mix(seed * 1000003ull + (uint64_t)i);
    for (int k = 0; k < per_conn;) {
        s = mix(s);
        int u = (int)(s % (uint64_t)n_users), dup = 0;
        for (int j = 0; j < k; j++) dup |= out[j] == u;
        if (!dup) out[k++] = u;
    }
}

/* Expands {i}, {u} and {users} into a malloc'd string. */
static char *expand(const char *t, int i, int u) {
    size_t cap = strlen(t) + 64 + (size_t)per_conn * (strlen(user_fmt) + strlen(sep) + 16), n = 0;
    char *o = malloc(cap);
    while (*t) {
        if (!strncmp(t, "{i}", 3)) {
            n += (size_t)sprintf(o + n, "%d", i), t += 3;
        } else if (!strncmp(t, "{u}", 3)) {
            n += (size_t)sprintf(o + n, user_fmt, u), t += 3;
        } else if (!strncmp(t, "{users}", 7)) {
            int w[4096];
            watch_list(i, w);
            for (int k = 0; k < per_conn; k++) {
                if (k) n += (size_t)sprintf(o + n, "%s", sep);
                n += (size_t)sprintf(o + n, user_fmt, w[k]);
            }
            t += 7;
        } else
            o[n++] = *t++;
    }
    o[n] = 0;
    return o;
}

/* An event payload of about `size` bytes. */
static int payload(char *o, size_t cap, int u, uint64_t t) {
    char user[64];
    snprintf(user, sizeof user, user_fmt, u);
    int n = snprintf(o, cap,
                     "{\"user\":\"%s@example.com\",\"t\":%llu,\"state\":\"busy\","
                     "\"activity\":\"meeting\",\"note\":\"",
                     user, (unsigned long long)t);
    while (n < size - 2 && n < (int)cap - 3) o[n] = "abcdefghijklmnop"[n & 15], n++;
    o[n++] = '"', o[n++] = '}', o[n] = 0;
    return n;
}

/* ---- receiving ---------------------------------------------------------- */
static void record(struct conn *c, uint64_t t, uint64_t now) {
    uint64_t t0 = start_ns;
    if (!t0) { /* snapshot sent on subscribing */
        n_initial++;
        return;
    }
    if (t < t0 && !storm) {
        n_initial++;
        return;
    }
    if (n_lat == cap_lat) return;
    lat_t[n_lat] = now > t ? (uint32_t)((now - t) / 1000) : 0;
    lat_0[n_lat] = now > t0 ? (uint32_t)((now - t0) / 1000) : 0;
    n_lat++;
    c->events++;
    last_event_ns = now;
}

/* Finds timestamps in a piece of stream. The CARRY bytes before p are ours to
 * overwrite: they get the unfinished end of the piece before. */
static void scan(struct conn *c, char *p, size_t n, uint64_t now) {
    size_t ml = strlen(mark);
    char *end = p + n, *s = p - c->carry_len, *m;
    memcpy(s, c->carry, (size_t)c->carry_len);
    c->carry_len = 0;
    while ((m = memmem(s, (size_t)(end - s), mark, ml))) {
        char *d = m + ml;
        uint64_t v = 0;
        while (d < end && *d == ' ') d++;
        while (d < end && (unsigned)(*d - '0') < 10) v = v * 10 + (uint64_t)(*d++ - '0');
        if (d == end && end - m <= CARRY) { /* the number may go on */
            c->carry_len = (int)(end - m);
            memcpy(c->carry, m, (size_t)c->carry_len);
            return;
        }
        record(c, v, now);
        s = d;
    }
    size_t keep = (size_t)(end - s) < ml - 1 ? (size_t)(end - s) : ml - 1;
    memcpy(c->carry, end - keep, keep);
    c->carry_len = (int)keep;
}

static void body(struct conn *c, char *p, size_t n, uint64_t now) {
    if (c->chunk == C_NONE) {
        scan(c, p, n, now);
        return;
    }
    char *end = p + n;
    while (p < end) {
        switch (c->chunk) {
        case C_SIZE:
            if (isxdigit((unsigned char)*p)) {
                int d = *p <= '9' ? *p - '0' : (*p | 32) - 'a' + 10;
                c->chunk_left = c->chunk_left * 16 + (uint64_t)d;
                p++;
            } else
                c->chunk = C_EXT;
            break;
        case C_EXT: /* extension, CR, up to LF */
            if (*p++ == '\n') c->chunk = c->chunk_left ? C_DATA : C_CRLF;
            break;
        case C_DATA: {
            size_t k = (size_t)(end - p) < c->chunk_left ? (size_t)(end - p) : c->chunk_left;
            scan(c, p, k, now);
            p += k, c->chunk_left -= k;
            if (!c->chunk_left) c->chunk = C_CRLF;
            break;
        }
        case C_CRLF:
            if (*p++ == '\n') c->chunk = C_SIZE, c->chunk_left = 0;
            break;
        }
    }
}

static bool header_has(const char *h, const char *name, const char *val) {
    const char *p = strcasestr(h, name);
    if (!p) return false;
    const char *e = strstr(p, "\r\n"), *v = strcasestr(p, val);
    return v && e && v < e;
}

static void conn_close(struct conn *c) {
    struct linger l = {1, 0}; /* RST: leaves no TIME_WAIT behind */
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(c->fd);
    c->fd = -1;
    c->state = DEAD;
}

static void feed(struct conn *c, char *p, size_t n, uint64_t now) {
    if (c->state == HEADERS && proto == HTTP) {
        c->head = realloc(c->head, (size_t)c->head_len + n + 1);
        memcpy(c->head + c->head_len, p, n);
        c->head_len += (int)n;
        c->head[c->head_len] = 0;
        char *e = memmem(c->head, (size_t)c->head_len, "\r\n\r\n", 4);
        if (!e) return;
        size_t rest = (size_t)c->head_len - (size_t)(e + 4 - c->head);
        e[2] = 0;
        if (strncmp(c->head, "HTTP/1.", 7) || strncmp(c->head + 9, "200", 3)) {
            if (failed++ < 3) fprintf(stderr, "refused: %.60s\n", c->head);
            free(c->head), c->head = NULL;
            conn_close(c);
            return;
        }
        if (header_has(c->head, "\r\nTransfer-Encoding:", "chunked")) c->chunk = C_SIZE;
        free(c->head), c->head = NULL;
        c->state = STREAMING;
        established++;
        if (rest) body(c, p + n - rest, rest, now);
    } else if (c->state == HEADERS) { /* redis, nats: any answer counts */
        c->state = STREAMING;
        established++;
        body(c, p, n, now);
    } else
        body(c, p, n, now);
}

/* ---- connecting --------------------------------------------------------- */
static int open_socket(const struct sockaddr_in *to, int idx) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0) die("socket: %s", strerror(errno));
    if (src_ips > 1) { /* 127.0.0.1, .2, ...: more local ports */
        struct sockaddr_in s = {.sin_family = AF_INET};
        s.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)(idx % src_ips));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&s, sizeof s)) die("bind: %s", strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    return fd;
}

static void send_all(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && (errno == EAGAIN || errno == EINTR)) {
            usleep(200);
            continue;
        }
        if (k <= 0) return;
        p += k, n -= (size_t)k;
    }
}

static void send_subscribe(struct conn *c) {
    char *what, *req = NULL;
    int n = 0;
    if (proto == HTTP) {
        what = expand(path, c->idx, 0);
        n = asprintf(&req, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s\r\n",
                     what, inet_ntoa(addr.sin_addr), ntohs(addr.sin_port), headers);
    } else if (proto == REDIS) {
        sep = " ";
        what = expand("SUBSCRIBE {users}\r\n", c->idx, 0);
        n = asprintf(&req, "%s", what);
    } else {
        sep = "";
        int w[4096];
        watch_list(c->idx, w);
        what = malloc((size_t)per_conn * 40 + 200), n = 0;
        n += sprintf(what, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
        for (int k = 0; k < per_conn; k++) {
            n += sprintf(what + n, "SUB ");
            n += sprintf(what + n, user_fmt, w[k]);
            n += sprintf(what + n, " %d\r\n", k + 1);
        }
        sprintf(what + n, "PING\r\n");
        n = asprintf(&req, "%s", what);
    }
    send_all(c->fd, req, (size_t)n);
    free(what), free(req);
    c->state = HEADERS;
}

/* ---- publishing (own thread) -------------------------------------------- */
struct pubc {
    int fd, len;
    bool busy, up;
    char buf[4096];
};

static void pace(int n, uint64_t t0) {
    if (pub_rate <= 0) return;
    uint64_t due = t0 + (uint64_t)((double)n * 1e9 / pub_rate), t = now_ns();
    if (due > t) {
        struct timespec d = {(time_t)((due - t) / 1000000000u), (long)((due - t) % 1000000000u)};
        nanosleep(&d, NULL);
    }
}

static void pub_send_http(struct pubc *p, int n) {
    char b[8192], r[9216];
    int u = n % n_users, bl;
    if (body_tmpl) {
        char *x = expand(body_tmpl, n, u);
        bl = snprintf(b, sizeof b, "%s", x);
        free(x);
    } else
        bl = payload(b, sizeof b, u, now_ns());
    char *pp = expand(pub_path, n, u);
    int k = snprintf(r, sizeof r,
                     "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: %d\r\n%s\r\n%.*s",
                     pub_method, pp, bl, headers, bl, b);
    free(pp);
    p->len = 0, p->busy = true;
    send_all(p->fd, r, (size_t)k);
}

/* True when p->buf holds one whole response. */
static bool response_complete(struct pubc *p) {
    p->buf[p->len] = 0;
    char *e = strstr(p->buf, "\r\n\r\n"), *cl;
    if (!e) return false;
    if (header_has(p->buf, "\r\nTransfer-Encoding:", "chunked")) return strstr(e, "0\r\n\r\n") != NULL;
    cl = strcasestr(p->buf, "\r\nContent-Length:");
    long want = cl && cl < e ? atol(cl + 17) : 0;
    return p->len - (e + 4 - p->buf) >= want;
}

static void *publisher(void *arg) {
    (void)arg;
    if (proto != HTTP) { /* pipelined on one connection */
        int fd = open_socket(&pub_addr, 0);
        char b[8192], r[9000], junk[65536];
        usleep(50000);
        if (proto == NATS) send_all(fd, "CONNECT {\"verbose\":false}\r\n", 27);
        usleep(50000);
        uint64_t t0 = now_ns();
        start_ns = t0;
        for (int n = 0; n < pub_count; n++) {
            pace(n, t0);
            char user[64];
            int u = n % n_users, bl = payload(b, sizeof b, u, now_ns()), k;
            snprintf(user, sizeof user, user_fmt, u);
            if (proto == REDIS)
                k = snprintf(r, sizeof r, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n",
                             strlen(user), user, bl, b);
            else
                k = snprintf(r, sizeof r, "PUB %s %d\r\n%s\r\n", user, bl, b);
            send_all(fd, r, (size_t)k);
            while (recv(fd, junk, sizeof junk, MSG_DONTWAIT) > 0) {}
            pub_ok++;
        }
        pub_done_ns = now_ns();
        pub_finished = 1;
        while (recv(fd, junk, sizeof junk, MSG_DONTWAIT) != 0 && pub_finished == 1) usleep(20000);
        close(fd);
        return NULL;
    }
    int ep = epoll_create1(0), sent = 0, done = 0, np = pub_conns < pub_count ? pub_conns : pub_count;
    struct pubc *pc = calloc((size_t)np, sizeof *pc);
    for (int i = 0; i < np; i++) {
        pc[i].fd = open_socket(&pub_addr, i);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &pc[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, pc[i].fd, &ev);
    }
    usleep(200000); /* connected by now (loopback) */
    uint64_t t0 = now_ns();
    if (!start_from_answer) start_ns = t0;
    for (int i = 0; i < np && sent < pub_count && pub_rate <= 0; i++) pub_send_http(&pc[i], sent++);
    if (pub_rate > 0) pub_send_http(&pc[0], sent++);
    while (done < pub_count) {
        struct epoll_event ev[64];
        int n = epoll_wait(ep, ev, 64, (int)(timeout_s * 1000));
        if (n <= 0) break;
        for (int i = 0; i < n; i++) {
            struct pubc *p = ev[i].data.ptr;
            ssize_t k = recv(p->fd, p->buf + p->len, sizeof p->buf - 1 - (size_t)p->len, 0);
            if (k < 0 && errno == EAGAIN) continue;
            if (k <= 0) {
                pub_err++;
                done++;
                epoll_ctl(ep, EPOLL_CTL_DEL, p->fd, NULL);
                close(p->fd);
                if (sent < pub_count) { /* the server closed it: reconnect */
                    p->fd = open_socket(&pub_addr, 0);
                    struct epoll_event e2 = {.events = EPOLLIN, .data.ptr = p};
                    epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &e2);
                    usleep(1000);
                    pub_send_http(p, sent++);
                }
                continue;
            }
            p->len += (int)k;
            if (!response_complete(p)) continue;
            char *told = strstr(p->buf, "\"t\":");
            if (start_from_answer && told) start_ns = strtoull(told + 4, NULL, 10);
            if (p->buf[9] == '2') pub_ok++;
            else if (pub_err++ < 3) fprintf(stderr, "publish: %.40s\n", p->buf);
            done++;
            p->busy = false;
            if (sent < pub_count) {
                pace(sent, t0);
                pub_send_http(p, sent++);
            }
        }
    }
    pub_done_ns = now_ns();
    pub_finished = 1;
    for (int i = 0; i < np; i++) close(pc[i].fd);
    close(ep);
    free(pc);
    return NULL;
}

/* ---- the server's memory and processor time ------------------------------ */
static long proc_kb(const char *key) {
    long sum = 0;
    for (int i = 0; i < n_pids; i++) {
        char f[64], line[256];
        snprintf(f, sizeof f, "/proc/%d/status", pids[i]);
        FILE *h = fopen(f, "r");
        if (!h) continue;
        while (fgets(line, sizeof line, h))
            if (!strncmp(line, key, strlen(key))) sum += atol(line + strlen(key) + 1);
        fclose(h);
    }
    return sum;
}
static double proc_cpu(void) {
    double sum = 0;
    for (int i = 0; i < n_pids; i++) {
        char f[64], b[1024];
        snprintf(f, sizeof f, "/proc/%d/stat", pids[i]);
        FILE *h = fopen(f, "r");
        if (!h) continue;
        size_t n = fread(b, 1, sizeof b - 1, h);
        fclose(h);
        b[n] = 0;
        char *p = strrchr(b, ')');
        unsigned long ut = 0, st = 0;
        if (p && sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &st) == 2)
            sum += (double)(ut + st) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}
static double self_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* ---- main loop ------------------------------------------------------------ */
static int cmp32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}
static double pct(uint32_t *v, double q) { /* ms */
    if (!n_lat) return -1;
    size_t i = (size_t)(q * (double)(n_lat - 1));
    return (double)v[i] / 1000.0;
}

static void parse_addr(const char *s, struct sockaddr_in *a) {
    char h[64];
    const char *c = strrchr(s, ':');
    if (!c || (size_t)(c - s) >= sizeof h) die("address must be IPV4:PORT");
    memcpy(h, s, (size_t)(c - s)), h[c - s] = 0;
    a->sin_family = AF_INET;
    a->sin_port = htons((uint16_t)atoi(c + 1));
    if (!inet_aton(h, &a->sin_addr)) die("bad address %s", h);
}

static int ep_main;
static char rb[RBUF + CARRY];

static int next_conn = 0, in_flight = 0;

static void pump(int ms) { /* one round of the event loop */
    struct epoll_event ev[1024];
    int n = epoll_wait(ep_main, ev, 1024, ms);
    for (int i = 0; i < n; i++) {
        struct conn *c = ev[i].data.ptr;
        if (c->state == DEAD) continue;
        if (c->state == CONNECTING) {
            int err = 0;
            socklen_t l = sizeof err;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
            if (err) {
                if (failed++ < 3) fprintf(stderr, "connect: %s\n", strerror(err));
                conn_close(c), in_flight--;
                continue;
            }
            struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
            epoll_ctl(ep_main, EPOLL_CTL_MOD, c->fd, &e);
            send_subscribe(c);
            continue;
        }
        ssize_t k = recv(c->fd, rb + CARRY, RBUF, 0);
        if (k < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (k <= 0) {
            if (c->state == STREAMING) closed_early++;
            else failed++, in_flight--;
            conn_close(c);
            continue;
        }
        n_recv++, n_bytes += (uint64_t)k;
        int before = c->state;
        feed(c, rb + CARRY, (size_t)k, now_ns());
        if (before == HEADERS && c->state != HEADERS) in_flight--;
    }
}

static void usage(void) {
    fputs("usage: sseload -a IP:PORT [options]   (all options: README.md)\n", stderr);
    exit(2);
}

int main(int argc, char **argv) {
    static struct option lo[] = {
        {"addr", 1, 0, 'a'},     {"conns", 1, 0, 'c'},     {"path", 1, 0, 'p'},
        {"users", 1, 0, 'U'},    {"watch", 1, 0, 'K'},     {"proto", 1, 0, 1},
        {"pub-addr", 1, 0, 2},   {"pub-path", 1, 0, 3},    {"pub-method", 1, 0, 4},
        {"pub-conns", 1, 0, 5},  {"pub-count", 1, 0, 'n'}, {"pub-rate", 1, 0, 'r'},
        {"pub-body", 1, 0, 6},   {"size", 1, 0, 7},        {"expect", 1, 0, 8},
        {"pid", 1, 0, 9},        {"settle", 1, 0, 10},     {"hold", 1, 0, 11},
        {"timeout", 1, 0, 12},   {"mark", 1, 0, 13},       {"header", 1, 0, 14},
        {"seed", 1, 0, 15},      {"json", 0, 0, 16},       {"label", 1, 0, 17},
        {"window", 1, 0, 18},    {"user-format", 1, 0, 19}, {"src-ips", 1, 0, 20},
        {"storm", 0, 0, 21},     {"separator", 1, 0, 22},  {"start-from-answer", 0, 0, 23},
        {0, 0, 0, 0}};
    int o;
    bool have_pub_addr = false;
    parse_addr("127.0.0.1:8080", &addr);
    while ((o = getopt_long(argc, argv, "a:c:p:U:K:n:r:", lo, NULL)) != -1) {
        switch (o) {
        case 'a': parse_addr(optarg, &addr); break;
        case 'c': n_conns = atoi(optarg); break;
        case 'p': path = optarg; break;
        case 'U': n_users = atoi(optarg); break;
        case 'K': per_conn = atoi(optarg); break;
        case 'n': pub_count = atoi(optarg); break;
        case 'r': pub_rate = atof(optarg); break;
        case 1:
            proto = !strcmp(optarg, "redis") ? REDIS : !strcmp(optarg, "nats") ? NATS : HTTP;
            break;
        case 2: parse_addr(optarg, &pub_addr), have_pub_addr = true; break;
        case 3: pub_path = optarg; break;
        case 4: pub_method = optarg; break;
        case 5: pub_conns = atoi(optarg); break;
        case 6: body_tmpl = optarg; break;
        case 7: size = atoi(optarg); break;
        case 8: expect_opt = atoll(optarg); break;
        case 9:
            for (char *t = strtok(optarg, ","); t && n_pids < 64; t = strtok(NULL, ","))
                pids[n_pids++] = atoi(t);
            break;
        case 10: settle = atof(optarg); break;
        case 11: hold = atof(optarg); break;
        case 12: timeout_s = atof(optarg); break;
        case 13: mark = optarg; break;
        case 14: {
            char *h;
            if (asprintf(&h, "%s%s\r\n", headers, optarg) < 0) die("memory");
            headers = h;
            break;
        }
        case 15: seed = strtoull(optarg, NULL, 10); break;
        case 16: json_out = true; break;
        case 17: label = optarg; break;
        case 18: window = atoi(optarg); break;
        case 19: user_fmt = optarg; break;
        case 20: src_ips = atoi(optarg); break;
        case 21: storm = true; break;
        case 22: sep = optarg; break;
        case 23: start_from_answer = true; break;
        default: usage();
        }
    }
    if (per_conn > n_users) per_conn = n_users;
    if (per_conn > 4096) die("--watch: at most 4096");
    if (!have_pub_addr) pub_addr = addr;
    if (!src_ips) src_ips = 1 + n_conns / 20000;

    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rlim_t want = (rlim_t)n_conns + (rlim_t)pub_conns + 64;
    if (rl.rlim_max < want) { /* only a privileged process may raise it */
        struct rlimit up = {want, want};
        if (setrlimit(RLIMIT_NOFILE, &up)) die("needs %lu open files, may have %lu", (unsigned long)want, (unsigned long)rl.rlim_max);
    } else {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }

    /* what should arrive where */
    watchers_of = calloc((size_t)n_users, sizeof *watchers_of);
    conns = calloc((size_t)n_conns, sizeof *conns);
    int w[4096];
    for (int i = 0; i < n_conns; i++) {
        watch_list(i, w);
        for (int k = 0; k < per_conn; k++) watchers_of[w[k]]++;
    }
    if (storm) /* one request makes every user change once */
        for (int u = 0; u < n_users; u++) expected_total += watchers_of[u];
    else
        for (int n = 0; n < pub_count; n++) expected_total += watchers_of[n % n_users];
    if (storm && !pub_count) pub_count = 1;
    if (expect_opt >= 0) expected_total = (uint64_t)expect_opt;
    cap_lat = expected_total * 2 + 1024;
    lat_t = malloc(cap_lat * sizeof *lat_t);
    lat_0 = malloc(cap_lat * sizeof *lat_0);
    memset(lat_t, 1, cap_lat * sizeof *lat_t); /* touch now, not while measuring */
    memset(lat_0, 1, cap_lat * sizeof *lat_0);

    long rss0 = proc_kb("VmRSS:");
    ep_main = epoll_create1(0);
    uint64_t tc = now_ns();
    while (established + failed < n_conns) {
        while (next_conn < n_conns && in_flight < window) {
            struct conn *c = &conns[next_conn];
            c->idx = next_conn++;
            c->fd = open_socket(&addr, c->idx);
            struct epoll_event e = {.events = EPOLLOUT | EPOLLIN, .data.ptr = c};
            epoll_ctl(ep_main, EPOLL_CTL_ADD, c->fd, &e);
            in_flight++;
        }
        pump(50);
        if (now_ns() - tc > (uint64_t)(timeout_s * 1e9)) {
            fprintf(stderr, "timeout while connecting\n");
            break;
        }
    }
    double connect_s = (double)(now_ns() - tc) / 1e9;
    uint64_t until = now_ns() + (uint64_t)((settle + hold) * 1e9);
    while (now_ns() < until) pump(20);
    long rss1 = proc_kb("VmRSS:");
    double cpu0 = proc_cpu(), self0 = self_cpu();
    uint64_t recv0 = n_recv, bytes0 = n_bytes;

    pthread_t th;
    bool timed_out = false;
    if (pub_count) {
        pthread_create(&th, NULL, publisher, NULL);
        uint64_t quiet = now_ns();
        size_t seen = 0;
        while (n_lat < expected_total) {
            pump(20);
            if (n_lat != seen || !pub_finished) seen = n_lat, quiet = now_ns();
            if (pub_finished && now_ns() - quiet > (uint64_t)(timeout_s * 1e9)) {
                timed_out = true;
                break;
            }
        }
        while (!pub_finished) pump(20);
        pub_finished = 2;
    }
    double cpu1 = proc_cpu(), self1 = self_cpu();
    long rss2 = proc_kb("VmRSS:"), hwm = proc_kb("VmHWM:");
    if (pub_count) { /* anything delivered twice would show up now */
        uint64_t more = now_ns() + 200000000ull;
        while (now_ns() < more) pump(20);
        pthread_join(th, NULL);
    }

    uint64_t t0 = start_ns;
    double done_s = n_lat && t0 ? (double)(last_event_ns - t0) / 1e9 : 0;
    double pub_s = t0 ? (double)(pub_done_ns - t0) / 1e9 : 0;
    qsort(lat_t, n_lat, sizeof *lat_t, cmp32);
    qsort(lat_0, n_lat, sizeof *lat_0, cmp32);
    double rate = done_s > 0 ? (double)n_lat / done_s : 0;
    double per_conn_kb = established ? (double)(rss1 - rss0) / established : 0;
    if (json_out)
        printf("{\"label\":\"%s\",\"established\":%d,\"failed\":%d,\"closed_early\":%d,"
               "\"connect_s\":%.3f,\"initial\":%llu,\"published\":%d,\"publish_errors\":%d,\"publish_s\":%.4f,"
               "\"expected\":%llu,\"received\":%zu,\"timed_out\":%s,\"done_s\":%.4f,\"per_s\":%.0f,"
               "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,"
               "\"p50_start_ms\":%.2f,\"p99_start_ms\":%.2f,\"max_start_ms\":%.2f,"
               "\"recv_calls\":%llu,\"bytes\":%llu,\"server_cpu_s\":%.2f,\"client_cpu_s\":%.2f,"
               "\"rss_before_kb\":%ld,\"rss_connected_kb\":%ld,\"rss_after_kb\":%ld,\"rss_peak_kb\":%ld,"
               "\"rss_per_conn_kb\":%.2f}\n",
               label, established, failed, closed_early, connect_s, (unsigned long long)n_initial,
               (int)pub_ok, (int)pub_err, pub_s, (unsigned long long)expected_total, n_lat,
               timed_out ? "true" : "false", done_s, rate, pct(lat_t, .5), pct(lat_t, .99), pct(lat_t, 1),
               pct(lat_0, .5), pct(lat_0, .99), pct(lat_0, 1), (unsigned long long)(n_recv - recv0),
               (unsigned long long)(n_bytes - bytes0), cpu1 - cpu0, self1 - self0, rss0, rss1, rss2, hwm, per_conn_kb);
    else {
        printf("connections  established %d  failed %d  closed early %d  (%.2f s)\n", established, failed, closed_early, connect_s);
        if (pub_count) {
            printf("published    %d ok  %d errors  in %.3f s\n", (int)pub_ok, (int)pub_err, pub_s);
            printf("received     %zu of %llu expected%s  (%llu before the start)\n", n_lat, (unsigned long long)expected_total,
                   timed_out ? "  TIMED OUT" : "", (unsigned long long)n_initial);
            printf("completion   %.3f s to the last delivery  (%.0f deliveries/s)\n", done_s, rate);
            printf("latency ms   from event time   p50 %.2f  p99 %.2f  max %.2f\n", pct(lat_t, .5), pct(lat_t, .99), pct(lat_t, 1));
            printf("             from start        p50 %.2f  p99 %.2f  max %.2f\n", pct(lat_0, .5), pct(lat_0, .99), pct(lat_0, 1));
            printf("reads        %llu  (%.1f events each)  %.1f MB\n", (unsigned long long)(n_recv - recv0),
                   n_recv > recv0 ? (double)n_lat / (double)(n_recv - recv0) : 0, (double)(n_bytes - bytes0) / 1e6);
            printf("cpu s        server %.2f  this tool %.2f\n", cpu1 - cpu0, self1 - self0);
        }
        if (n_pids)
            printf("server rss   before %ld  connected %ld  after %ld  peak %ld KB  (%.2f KB per connection)\n", rss0, rss1, rss2, hwm, per_conn_kb);
    }
    for (int i = 0; i < n_conns; i++)
        if (conns[i].state != DEAD && conns[i].fd > 0) conn_close(&conns[i]);
    return failed || timed_out || closed_early || n_lat != expected_total ? 1 : 0;
}
