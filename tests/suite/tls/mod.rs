//! TLS to the servers: who is believed, and what people are told when somebody is not.

use crate::{
    cli::{warmd, write_job},
    world::World,
};

mod databases;
mod redis;

const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\nrefresh = \"always\"\n\
                     [targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n";

/// What must never be seen; it stands in every password here.
const SECRET: &str = "sesame";

/// Settings beside those of the world.
type Variables<'v> = &'v [(&'v str, &'v str)];

/// The exit code, and all that was said, of which nothing is secret.
fn told(world: &World, arguments: &[&str], variables: Variables) -> (Option<i32>, String, String) {
    let output = warmd(world, arguments).envs(variables.iter().copied()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!format!("{out}{err}").contains(SECRET) && !err.contains("PRIVATE KEY"), "{out}{err}");
    (output.status.code(), out, err)
}

/// All five keys are written, and nothing else is said than that.
fn warms(world: &World, variables: Variables) {
    let (code, out, err) = told(world, &["warm"], variables);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{variables:?}");
    assert!(out.contains("users  ok             5     5      0       5"), "{out}");
    let (code, _, err) = told(world, &["check", "--connect"], variables);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{variables:?}");
}

/// The one line that is said of a server out of reach.
fn refused(world: &World, variables: Variables) -> String {
    let (code, out, err) = told(world, &["warm"], variables);
    assert_eq!((code, out.as_str()), (Some(69), ""), "{err}");
    let checked = told(world, &["check", "--connect"], variables);
    assert_eq!(checked, (Some(69), String::new(), err.clone()));
    let line = err.strip_suffix('\n').unwrap().to_owned();
    assert!(!line.contains('\n'), "{line}");
    line
}

/// A world whose one job reads users.
async fn world() -> World {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    world
}
