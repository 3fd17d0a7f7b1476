/* A made-up /proc and /sys in a folder of its own. */
#pragma once

struct kernel_tree {
    char root[64];
};

void kernel_tree_init(struct kernel_tree *tree);
void kernel_tree_release(struct kernel_tree *tree);
/* `path` begins with a slash; folders are made, an older text is replaced. */
void kernel_tree_write(struct kernel_tree *tree, const char *path, const char *text);
