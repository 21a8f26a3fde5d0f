/* Two programs in one, for the pod mc2: they share nothing but the pod's IPC namespace.
 *
 *   ipc -producer   creates a System V message queue, sends some random messages, then a stop message
 *   ipc -consumer   waits until the queue exists, prints what arrives up to the stop message, removes the queue
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_KEY 0x6970630a
#define MESSAGES 10
#define STOP "done"

struct message {
    long type;
    char text[64];
};

static void on_signal(int number) { _exit(128 + number); }

static int fail(const char *what) {
    fprintf(stderr, "cannot %s: %s\n", what, strerror(errno));
    return 1;
}

static void pause_ms(long milliseconds) {
    struct timespec span = {milliseconds / 1000, (milliseconds % 1000) * 1000000L};
    nanosleep(&span, NULL);
}

static int produce(void) {
    int queue = msgget(QUEUE_KEY, IPC_CREAT | 0600);
    if (queue < 0) return fail("create the message queue");
    srandom((unsigned)(time(NULL) ^ getpid()));
    for (int i = 0; i <= MESSAGES; i++) {
        struct message message = {.type = 1};
        if (i < MESSAGES)
            snprintf(message.text, sizeof message.text, "%08lx", random());
        else
            snprintf(message.text, sizeof message.text, STOP);
        if (msgsnd(queue, &message, strlen(message.text) + 1, 0) < 0) return fail("send a message");
        printf("Produced: %s\n", message.text);
        pause_ms(100);
    }
    return 0;
}

static int consume(void) {
    int queue;
    /* The containers of a pod start together: the queue may not be there yet. */
    while ((queue = msgget(QUEUE_KEY, 0600)) < 0) {
        if (errno != ENOENT) return fail("open the message queue");
        pause_ms(50);
    }
    for (;;) {
        struct message message;
        if (msgrcv(queue, &message, sizeof message.text, 0, 0) < 0) {
            if (errno == EINTR) continue;
            return fail("receive a message");
        }
        printf("Consumed: %s\n", message.text);
        if (strcmp(message.text, STOP) == 0) break;
    }
    if (msgctl(queue, IPC_RMID, NULL) < 0) return fail("remove the message queue");
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* As PID 1 a process has no default action for signals; without these SIGTERM would be ignored. */
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    if (argc == 2 && strcmp(argv[1], "-producer") == 0) return produce();
    if (argc == 2 && strcmp(argv[1], "-consumer") == 0) return consume();
    fprintf(stderr, "usage: %s -producer | -consumer\n", argv[0]);
    return 2;
}
