//! Learn discrete structure by gradient descent on any GPU: group sizes, subsets, assignments.
