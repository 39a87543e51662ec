/* Makes a system call and says what came of it: `probe NUMBER ARGUMENT...`; `probe 32 NUMBER` makes it as a program of 32 bits,
   `probe value NUMBER ARGUMENT...` says what it answered; `probe notify TEXT...` sends each text to $NOTIFY_SOCKET. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static long call32(long number) {
#ifdef __x86_64__
    long answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(0L) : "memory", "r8", "r9", "r10", "r11");
    return answer;
#else
    (void)number;
    return -ENOSYS;
#endif
}

static int notify(int count, char **texts) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    strncpy(address.sun_path, path ? path : "", sizeof address.sun_path - 1);
    int to = socket(AF_UNIX, SOCK_DGRAM, 0);
    for (int i = 0; i < count; i++) {
        if (sendto(to, texts[i], strlen(texts[i]), 0, (struct sockaddr *)&address, sizeof address) < 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int count, char **words) {
    if (count > 2 && strcmp(words[1], "notify") == 0) {
        return notify(count - 2, words + 2);
    }
    int bits32 = count > 2 && strcmp(words[1], "32") == 0;
    int value = count > 2 && strcmp(words[1], "value") == 0;
    int first = 1 + (bits32 || value);
    long values[7] = {0};
    for (int i = first; i < count && i < first + 7; i++) {
        values[i - first] = (long)strtoul(words[i], NULL, 0);
    }
    if (value) {
        printf("%ld\n", syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]));
        return 0;
    }
    pid_t child = fork();
    if (child == 0) {
        /* The answers that are errors are the last page, here and there. */
        long answer = bits32 ? call32(values[0])
                             : syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
        int error = bits32 ? (answer < 0 && answer > -4096 ? -answer : 0) : (answer == -1 ? errno : 0);
        _exit(error);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("probe");
        return 1;
    }
    if (WIFSIGNALED(status)) {
        printf("signal %d\n", WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0) {
        printf("errno %d\n", WEXITSTATUS(status));
    } else {
        printf("ok\n");
    }
    return 0;
}
