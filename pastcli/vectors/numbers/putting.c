/* Bytes into an open file. */
#define _FILE_OFFSET_BITS 64
#include "kernels.h"
#include <errno.h>
#include <unistd.h>

int put(int fd, const void *bytes, size_t size, int64_t offset)
{
    const char *rest = bytes;
    while (size) {
        ssize_t done = pwrite(fd, rest, size, offset);
        if (done < 0 && errno != EINTR)
            return errno;
        if (done > 0)
            rest += done, offset += done, size -= (size_t)done;
    }
    return 0;
}
