#include "lib/nginx.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DIR_PATH_MAX = 4096, FILE_PATH_MAX = DIR_PATH_MAX + 64, READY_S = 10 };

/* All it writes goes to `dir`. Its worker may only write there as the user that made it. */
static const char conf_format[] =
    "daemon off;\n"
    "%s"
    "worker_processes 1;\n"
    "pid %s/nginx.pid;\n"
    "error_log %s/nginx-error.log;\n"
    "events { worker_connections 4096; }\n"
    "http {\n"
    "  access_log off;\n"
    "  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;\n"
    "  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;\n"
    "  keepalive_requests 100000000;\n"
    "  upstream server { server 127.0.0.1:%d; keepalive 512; keepalive_requests 100000000; }\n"
    "  server {\n"
    "    listen 127.0.0.1:%d;\n"
    "    location / { proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n"
    "  }\n"
    "}\n";

void nginx_start(struct process *process, const char *program, const char *dir, int upstream_port,
                 int *port) {
    char conf[FILE_PATH_MAX], log[FILE_PATH_MAX];
    snprintf(conf, sizeof(conf), "%s/nginx.conf", dir);
    snprintf(log, sizeof(log), "%s/nginx.log", dir);
    FILE *file = fopen(conf, "w");
    *port = process_free_port();
    if (!file || fprintf(file, conf_format, geteuid() == 0 ? "user root;\n" : "", dir, dir, dir, dir, dir,
                         dir, dir, upstream_port, *port) < 0) {
        perror(conf);
        exit(1);
    }
    fclose(file);
    process_start(process, "nginx", log, (const char *const[]){program, "-c", conf, "-p", dir, NULL});
    process_wait_ready(process, *port, "/", READY_S, log);
}
